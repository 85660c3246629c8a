//! The counters as text for monitoring systems: OpenMetrics 1.0, and the older Prometheus format that a node exporter reads.
//!
//! Contains no user name and no address, because many may read it.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::fleet::MemberStatus;
use crate::model::reason::{Drop, Reason, Rule};
use crate::model::roster::{RosterCounters, RosterFault};
use crate::model::time::Timestamp;

pub(crate) mod http;

#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The engine's counters; `None` while none serves.
    pub figures: Option<EngineCounters>,
    pub captures: Vec<String>,
    pub tally: MonitorCounters,
}

impl Snapshot {
    pub(crate) fn open_metrics(self) -> String {
        self.written(text::encode)
    }

    pub(crate) fn prometheus(self) -> String {
        self.written(prometheus_text::encode)
    }

    fn written(self, encode: fn(&mut String, &Registry) -> fmt::Result) -> String {
        let mut registry = Registry::with_prefix("postern");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to memory can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let MonitorCounters {
            started,
            engines,
            grants,
            faults,
            turnover,
            roster,
        } = self.tally;
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
        let help = "The version that runs";
        writer.family("build_info", help, &version, ConstGauge::<i64>::new)?;
        writer.time("start_time", "When posternd started", started)?;
        let serving = usize::from(self.figures.is_some());
        writer.gauge("engine_serving", "Whether an engine serves", serving)?;
        let help = "Engines that were started, by a reload or after a crash";
        writer.counter("engine_starts", help, engines)?;
        writer.gauge("grants", "Grants that are open", grants)?;
        let help = "Services that a grant does not open, or that strangers reach";
        writer.gauge("firewall_faults", help, faults)?;
        writer.counter("grants_opened", "Grants that were opened", turnover.opened)?;
        let help = "Knocks for grants that were open already";
        writer.counter("grants_extended", help, turnover.extended)?;
        let help = "Grants that were closed, for any reason";
        writer.counter("grants_closed", help, turnover.closed)?;
        if let Some(roster) = &roster {
            writer.roster(roster)?;
        }
        let Some(figures) = &self.figures else {
            return Ok(());
        };
        writer.engine(figures)?;
        writer.claims(figures)?;
        writer.fleet(figures)?;
        writer.captures(figures, &self.captures)
    }
}

/// A value with its label.
type Labelled<'a, V> = ([(&'static str, &'a str); 1], V);

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn engine(&mut self, figures: &EngineCounters) -> fmt::Result {
        let (mut dropped, mut malformed) = (Vec::new(), Vec::new());
        let (mut refused, mut codes) = (Vec::new(), Vec::new());
        let mut fwknop = Vec::new();
        let (mut malformed_sum, mut fwknop_sum, mut codes_sum) = (0_u64, 0_u64, 0_u64);
        for (reason, count) in figures.counters.iter() {
            match reason {
                Reason::Drop(Drop::Malformed(rule)) => {
                    malformed_sum = malformed_sum.saturating_add(count);
                    malformed.push(([("rule", rule.as_str())], count));
                }
                Reason::Drop(Drop::Fwknop(fault)) => {
                    fwknop_sum = fwknop_sum.saturating_add(count);
                    fwknop.push(([("fault", fault.as_str())], count));
                }
                Reason::Drop(reason) => dropped.push(([("reason", reason.name())], count)),
                Reason::Refuse(Rule::Code(fault)) => {
                    codes_sum = codes_sum.saturating_add(count);
                    codes.push(([("fault", fault.name())], count));
                }
                Reason::Refuse(rule) => refused.push(([("rule", rule.name())], count)),
            }
        }
        dropped.push(([("reason", "malformed")], malformed_sum));
        dropped.push(([("reason", "fwknop")], fwknop_sum));
        refused.push(([("rule", "code")], codes_sum));
        let help = "Since when this engine serves; its counters began then";
        self.time("engine_start_time", help, figures.started)?;
        self.gauge("users", "Users that the config knows", figures.users)?;
        let help = "Marks of knocks that are remembered against replay";
        self.gauge("marks", help, figures.marks)?;
        self.gauge("hint_rows", "Rows of the hint table", figures.hints)?;
        let admitted = figures.counters.admitted;
        self.counter("admitted", "Knocks that were admitted", admitted)?;
        let help = "Datagrams that were dropped: not authenticated, or not fresh";
        self.counters("dropped", help, &dropped)?;
        let help = "Those dropped as malformed, by the rule that they broke";
        self.counters("malformed", help, &malformed)?;
        let help = "Packets of fwknop that were dropped, by what was wrong with them";
        self.counters("fwknop_dropped", help, &fwknop)?;
        let help = "Authenticated knocks that were refused, by rule";
        self.counters("refused", help, &refused)?;
        let help = "Those refused for their one-time code, by what was wrong with it";
        self.counters("code_refused", help, &codes)
    }

    fn roster(&mut self, roster: &RosterCounters) -> fmt::Result {
        let version = usize::try_from(roster.version).unwrap_or(usize::MAX);
        let help = "The version of the roster in force, 0 if there is none";
        self.gauge("roster_version", help, version)?;
        let help = "When the roster in force ends";
        self.time("roster_end_time", help, roster.until)?;
        let help = "When the roster in force was last taken or found to be the newest";
        self.time("roster_confirmed_time", help, roster.confirmed)?;
        if let Some(stale) = roster.stale {
            let help = "When the roster in force is stale unless it is confirmed before";
            self.time("roster_stale_time", help, stale)?;
        }
        let counts = RosterFault::ALL.into_iter().zip(roster.refused);
        let counts = counts.map(|(fault, count)| ([("reason", fault.name())], count));
        let help = "Rosters that were refused, by reason";
        self.counters("roster_refused", help, &counts.collect::<Vec<_>>())
    }

    fn claims(&mut self, figures: &EngineCounters) -> fmt::Result {
        let Some(claims) = &figures.claims else {
            return Ok(());
        };
        let answers = [
            ([("answer", "won")], claims.won),
            ([("answer", "lost")], claims.lost),
            ([("answer", "unknown")], claims.unknown),
        ];
        let help = "Whether the coordinator of the cluster answers; otherwise knocks are refused";
        self.gauge("coordinator_answers", help, usize::from(claims.answers))?;
        let help = "Claims of knocks at the coordinator of the cluster, by answer";
        self.counters("claims", help, &answers)
    }

    fn fleet(&mut self, figures: &EngineCounters) -> fmt::Result {
        let Some(fleet) = &figures.fleet else {
            return Ok(());
        };
        let counters = &fleet.counters;
        let help = "Other gates of this name that were heard in the last ten minutes";
        self.gauge("fleet_members", help, fleet.members.len())?;
        let help = "Live grants of all gates of this name, as this gate knows them";
        self.gauge("fleet_grants", help, fleet.grants)?;
        let help = "Whether this gate knows all live grants of the others";
        let current = usize::from(fleet.behind.is_none());
        self.gauge("fleet_current", help, current)?;
        if let Some(lag) = fleet.lag_ms {
            let help = "How long the last heartbeat of this gate took through the coordinator";
            let lag = Duration::from_millis(lag).as_secs_f64();
            self.one(
                "fleet_lag",
                help,
                Some(&Unit::Seconds),
                &ConstGauge::new(lag),
            )?;
        }
        let heard = fleet.members.iter().filter(|member| member.is_heard());
        if let Some(apart) = heard.map(MemberStatus::clock_apart).max() {
            let help = "How far the clock of another gate is from this gate's, at most";
            let apart = ConstGauge::new(apart.as_secs_f64());
            self.one("fleet_clock_difference", help, Some(&Unit::Seconds), &apart)?;
        }
        let help = "Grants of this gate that were published to the others";
        self.counter("fleet_published", help, counters.published)?;
        let help = "Grants of other gates that were opened or extended here";
        self.counter("fleet_taken", help, counters.taken)?;
        let help = "Grants that were closed here because another gate closed them";
        self.counter("fleet_closed", help, counters.closed)?;
        let refused = counters.refused.iter();
        let refused = refused.map(|(reason, count)| ([("reason", reason.as_str())], *count));
        let help = "Publications of other gates that were refused, by reason";
        self.counters("fleet_refused", help, &refused.collect::<Vec<_>>())
    }

    fn captures(&mut self, figures: &EngineCounters, names: &[String]) -> fmt::Result {
        let (mut listening, mut received, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for (name, capture) in names.iter().zip(&figures.captures) {
            let label = [("capture", name.as_str())];
            listening.push((label, i64::from(capture.listening)));
            received.push((label, capture.received));
            dropped.extend(capture.dropped.map(|count| (label, count)));
        }
        let help = "Whether the capture listens now";
        self.family("capture_listening", help, &listening, ConstGauge::new)?;
        let help = "Datagrams to a knock port, by capture";
        self.counters("capture_received", help, &received)?;
        let help = "Datagrams to a knock port that the kernel dropped because the queue was full";
        self.counters("capture_dropped", help, &dropped)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.one(name, help, None, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.one(name, help, None, &ConstGauge::new(value))
    }

    fn time(&mut self, name: &str, help: &str, time: Timestamp) -> fmt::Result {
        let seconds = Duration::from_millis(time.as_millis()).as_secs_f64();
        self.one(name, help, Some(&Unit::Seconds), &ConstGauge::new(seconds))
    }

    fn one(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        let kind = metric.metric_type();
        metric.encode(self.0.encode_descriptor(name, help, unit, kind)?)
    }

    fn counters(&mut self, name: &str, help: &str, values: &[Labelled<'_, u64>]) -> fmt::Result {
        self.family(name, help, values, ConstCounter::new)
    }

    fn family<V: Copy, M: EncodeMetric + TypedMetric>(
        &mut self,
        name: &str,
        help: &str,
        values: &[Labelled<'_, V>],
        metric: fn(V) -> M,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, M::TYPE)?;
        values
            .iter()
            .try_for_each(|(labels, value)| metric(*value).encode(family.encode_family(labels)?))
    }
}

#[cfg(test)]
mod tests;
