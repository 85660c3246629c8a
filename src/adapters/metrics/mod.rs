//! The counters as text for monitoring systems: OpenMetrics 1.0, and the older Prometheus format that a node exporter reads.
//!
//! Contains no user name and no address, because many may read it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::counters::{EngineCounters, MonitorCounters};
use crate::model::reason::{Drop, Reason, Rule};
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
            turnover,
        } = self.tally;
        writer.gauges(
            "build_info",
            "The version that runs",
            &[([("version", env!("CARGO_PKG_VERSION"))], 1)],
        )?;
        writer.time("start_time", "When posternd started", started)?;
        writer.gauge(
            "engine_serving",
            "Whether knocks are heard",
            usize::from(self.figures.is_some()),
        )?;
        writer.counter(
            "engine_starts",
            "Engines that were started, by a reload or after a crash",
            engines,
        )?;
        writer.gauge("grants", "Grants that are open", grants)?;
        writer.counter("grants_opened", "Grants that were opened", turnover.opened)?;
        writer.counter(
            "grants_extended",
            "Renewals of grants that were open already",
            turnover.extended,
        )?;
        writer.counter(
            "grants_closed",
            "Grants that were closed, whatever ended them",
            turnover.closed,
        )?;
        self.figures.as_ref().map_or(Ok(()), |figures| {
            writer
                .engine(figures)
                .and_then(|()| writer.captures(figures, &self.captures))
        })
    }
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn engine(&mut self, figures: &EngineCounters) -> fmt::Result {
        let (mut dropped, mut malformed, mut refused, mut codes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut malformed_sum, mut codes_sum) = (0_u64, 0_u64);
        for (reason, count) in figures.counters.iter() {
            match reason {
                Reason::Drop(Drop::Malformed(rule)) => {
                    malformed_sum = malformed_sum.saturating_add(count);
                    malformed.push(([("rule", rule.as_str())], count));
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
        refused.push(([("rule", "code")], codes_sum));
        self.time(
            "engine_start_time",
            "Since when this engine serves; its counters began then",
            figures.started,
        )?;
        self.gauge("users", "Users that the config knows", figures.users)?;
        self.gauge(
            "marks",
            "Marks of knocks that are remembered against replay",
            figures.marks,
        )?;
        self.gauge("hint_rows", "Rows of the hint table", figures.hints)?;
        self.counter(
            "admitted",
            "Knocks that were admitted",
            figures.counters.admitted,
        )?;
        self.counters(
            "dropped",
            "Datagrams that were dropped: not authenticated, or not fresh",
            &dropped,
        )?;
        self.counters(
            "malformed",
            "Those dropped as malformed, by the rule that they broke",
            &malformed,
        )?;
        self.counters(
            "refused",
            "Authenticated knocks that were refused, by the rule that said no",
            &refused,
        )?;
        self.counters(
            "code_refused",
            "Those refused for their one-time code, by what was wrong with it",
            &codes,
        )
    }

    fn captures(&mut self, figures: &EngineCounters, names: &[String]) -> fmt::Result {
        let all = || {
            names
                .iter()
                .zip(&figures.captures)
                .map(|(name, capture)| ([("capture", name.as_str())], capture))
        };
        let listening: Vec<_> = all()
            .map(|(label, capture)| (label, i64::from(capture.listening)))
            .collect();
        let received: Vec<_> = all()
            .map(|(label, capture)| (label, capture.received))
            .collect();
        let dropped: Vec<_> = all()
            .filter_map(|(label, capture)| Some((label, capture.dropped?)))
            .collect();
        self.gauges(
            "capture_listening",
            "Whether an interface, or a bound port, is heard now",
            &listening,
        )?;
        self.counters(
            "capture_received",
            "Datagrams to a knock port, by where they were heard",
            &received,
        )?;
        self.counters(
            "capture_dropped",
            "Datagrams to a knock port that the kernel dropped, for nobody read them in time",
            &dropped,
        )
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(
            self.0
                .encode_descriptor(name, help, None, counter.metric_type())?,
        )
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: &[([(&str, &str); 1], u64)],
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
        values.iter().try_for_each(|(labels, value)| {
            ConstCounter::new(*value).encode(family.encode_family(labels)?)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(
            self.0
                .encode_descriptor(name, help, None, gauge.metric_type())?,
        )
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: &[([(&str, &str); 1], i64)],
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, None, ConstGauge::new(0_i64).metric_type())?;
        values.iter().try_for_each(|(labels, value)| {
            ConstGauge::new(*value).encode(family.encode_family(labels)?)
        })
    }

    fn time(&mut self, name: &str, help: &str, time: Timestamp) -> fmt::Result {
        let gauge =
            ConstGauge::new(std::time::Duration::from_millis(time.as_millis()).as_secs_f64());
        gauge.encode(self.0.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            gauge.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests;
