//! `posternd.toml` without its users.

use postern_proto::FleetKey;
use toml::de::DeTable;

use super::capture;
use super::cluster;
use super::config_text::ConfigText;
use super::fields::Fields;
use super::firewall;
use super::fleet_keys;
use super::gate::{self, GateKey};
use super::key::KeyFiles;
use super::roster_section;
use super::services::{self, Services};
use super::values;
use crate::model::cluster::Cluster;
use crate::model::policy::Policy;
use crate::model::roster::RosterSettings;
use crate::model::sequence_ports::SequencePorts;
use crate::model::settings::{Firewall, Gate, Metrics, Settings};

pub(super) struct MainFile {
    /// `None` if it was refused, with a problem noted.
    gate: Option<Gate>,
    firewall: Firewall,
    metrics: Metrics,
    roster: Option<RosterSettings>,
    cluster: Option<Cluster>,
    pub(super) fleet_keys: Vec<FleetKey>,
    pub(super) services: Services,
    pub(super) gate_key: GateKey,
}

impl MainFile {
    pub(super) fn read(
        file: &ConfigText<'_>,
        values: &DeTable<'_>,
        key_files: &KeyFiles<'_>,
    ) -> Self {
        let top = Fields::new(file, "posternd.toml", values, 0);
        top.only(&[
            "gate", "firewall", "metrics", "cluster", "service", "user", "roster",
        ]);
        if !top.has("gate") {
            let cure = "add [gate] with name = \"…\", the name that clients use for this gate";
            top.refuse("gate", "[gate] is missing", cure);
        }
        let firewall = top.table("firewall", "[firewall]");
        let firewall = firewall.map_or(firewall::DEFAULT, |fields| firewall::read(&fields));
        let mut services = Services::default();
        if let Some(sections) = top.table("service", "[service.NAME]") {
            services::read(&sections, firewall.backend, &mut services);
        }
        let fields = top.table("gate", "[gate]");
        let gate = fields.as_ref().and_then(gate::read);
        if let Some(fields) = &fields {
            capture::check(fields, gate.as_ref(), &firewall);
        }
        let metrics = top.table("metrics", "[metrics]");
        let section = top.table("cluster", "[cluster]");
        let cluster = section.as_ref();
        let cluster = cluster.and_then(|fields| cluster::read(fields, gate.as_ref()));
        let shared = section.as_ref().zip(cluster.as_ref());
        let fleet_keys = shared.map_or_else(Vec::new, |(fields, cluster)| {
            fleet_keys::read(fields, cluster, gate.as_ref(), key_files)
        });
        Self {
            gate_key: fields
                .as_ref()
                .map_or(GateKey::Refused, |fields| gate::read_key(fields, key_files)),
            gate,
            firewall,
            metrics: metrics.map_or_else(Metrics::default, |fields| metrics_of(&fields)),
            roster: top.table("roster", "[roster]").and_then(|fields| {
                if fields.has("from") && !top.has("cluster") {
                    let what = "from needs a coordinator, and there is no [cluster]";
                    fields.refuse("from", what, "add [cluster], or remove from");
                }
                roster_section::read(&fields)
            }),
            cluster,
            fleet_keys,
            services,
        }
    }

    /// Reads a file of `services.d`.
    pub(super) fn read_services_file(&mut self, file: &ConfigText<'_>, values: &DeTable<'_>) {
        let top = Fields::new(file, "a file of services", values, 0);
        top.only(&["service"]);
        if let Some(sections) = top.table("service", "[service.NAME]") {
            services::read(&sections, self.firewall.backend, &mut self.services);
        }
    }

    pub(super) fn has_member(&self) -> bool {
        let member = self.cluster.as_ref().map(|cluster| &cluster.member);
        member.is_some_and(|member| !member.is_empty())
    }

    pub(super) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    pub(super) fn settings(self, policies: Vec<Policy>, disabled: Vec<Policy>) -> Option<Settings> {
        Some(Settings {
            gate: self.gate?,
            firewall: self.firewall,
            metrics: self.metrics,
            cluster: self.cluster,
            catalog: self.services.catalog,
            policies: policies.into(),
            fwknop_users: 0,
            without_hmac: Vec::new(),
            sequences: SequencePorts::default(),
            disabled: disabled.into(),
            roster: self.roster,
            kept_closed: Vec::new(),
        })
    }
}

fn metrics_of(fields: &Fields<'_>) -> Metrics {
    fields.only(&["file", "interval", "listen"]);
    let cure = "add file = \"/var/lib/prometheus/node-exporter/postern.prom\", or remove it";
    fields.requires("interval", "file", cure);
    let interval = fields.text("interval", values::bounded("interval", 1, 3600));
    Metrics {
        file: fields.text("file", values::prom_file),
        interval: interval.unwrap_or(Metrics::default().interval),
        listen: fields.text("listen", values::loopback),
    }
}
