//! `posternd grants`: open grants with the time left, the first to end first.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::ask::{ask, unexpected};
use super::output::{print_json, print_while_read};
use super::shared_arguments::Report;
use crate::adapters::clock;
use crate::adapters::control::{self, Answer, Question};
use crate::cli::columns::columns;
use crate::model::exit::ExitError;
use crate::model::fleet::ClusterGrant;
use crate::model::grant::{Grant, ListedGrant};
use crate::model::time::{self, Timestamp, human};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    grant: Grant,
    knocks: u64,
    left_ms: u64,
}

#[derive(Serialize)]
struct Listing {
    version: u32,
    grants: Vec<Shown>,
}

#[derive(Debug, Args)]
pub(super) struct Grants {
    #[command(flatten)]
    pub(super) report: Report,
    /// List the live grants of all gates of this name, as this gate knows them
    #[arg(long)]
    cluster: bool,
}

#[derive(Serialize)]
struct ShownOfCluster {
    #[serde(flatten)]
    grant: ClusterGrant,
    left_ms: u64,
}

#[derive(Serialize)]
struct ClusterListing {
    version: u32,
    grants: Vec<ShownOfCluster>,
}

pub(super) fn grants(Grants { report, cluster }: &Grants) -> Result<ExitCode, ExitError> {
    if *cluster {
        return of_cluster(report);
    }
    let shown = open_now(report)?;
    if report.json {
        return print_json(&Listing {
            version: control::VERSION,
            grants: shown,
        });
    }
    print_while_read(&table(&shown)).map(|_| ExitCode::SUCCESS)
}

fn of_cluster(report: &Report) -> Result<ExitCode, ExitError> {
    let Answer::ClusterGrants(mut grants) = ask(report, &Question::ClusterGrants)? else {
        return Err(unexpected());
    };
    grants.sort_by_key(|grant| (grant.until, grant.id));
    let now = clock::wall();
    if !report.json {
        return print_while_read(&cluster_table(&grants, now)).map(|_| ExitCode::SUCCESS);
    }
    let grants = grants.into_iter().map(|grant| ShownOfCluster {
        left_ms: time::millis(grant.until.since(now)),
        grant,
    });
    print_json(&ClusterListing {
        version: control::VERSION,
        grants: grants.collect(),
    })
}

fn cluster_table(grants: &[ClusterGrant], now: Timestamp) -> String {
    if grants.is_empty() {
        return "nothing is open at any gate\n".to_owned();
    }
    let head = [
        "GATE", "USER", "ADDRESS", "SERVICES", "TARGET", "HERE", "LEFT",
    ];
    let rows = grants.iter().map(|grant| {
        let services: Vec<String> = grant.services.iter().map(ToString::to_string).collect();
        let target = grant.target.map(|target| target.to_string());
        let here = match (grant.here, &grant.refused) {
            (Some(id), _) => id.to_string(),
            (None, Some(why)) => format!("no: {why}"),
            (None, None) => "not yet".to_owned(),
        };
        [
            grant.member.clone(),
            grant.user.clone(),
            grant.allow.to_string(),
            services.join(", "),
            target.unwrap_or_else(|| "-".to_owned()),
            here,
            human(grant.until.since(now)),
        ]
    });
    columns(head, rows)
}

pub(super) fn open_now(report: &Report) -> Result<Vec<Shown>, ExitError> {
    let Answer::Grants(grants) = ask(report, &Question::Grants)? else {
        return Err(unexpected());
    };
    Ok(shown(grants, clock::wall()))
}

fn shown(mut grants: Vec<ListedGrant>, now: Timestamp) -> Vec<Shown> {
    grants.sort_by_key(|listed| (listed.grant.until, listed.grant.id));
    grants
        .into_iter()
        .map(|ListedGrant { grant, knocks }| Shown {
            left_ms: time::millis(grant.until.since(now)),
            grant,
            knocks,
        })
        .collect()
}

pub(super) fn table(grants: &[Shown]) -> String {
    if grants.is_empty() {
        return "nothing is open\n".to_owned();
    }
    let head = [
        "ID", "USER", "ADDRESS", "SERVICES", "TARGET", "KNOCKS", "LEFT",
    ];
    columns(head, grants.iter().map(row))
}

fn row(shown: &Shown) -> [String; 7] {
    let grant = &shown.grant;
    let services = grant
        .services
        .iter()
        .map(ToString::to_string)
        .chain(grant.forwards.iter().map(ToString::to_string));
    let target = grant.target.map(|target| target.to_string());
    [
        grant.id.to_string(),
        grant.user.clone(),
        grant.allow.to_string(),
        services.collect::<Vec<_>>().join(", "),
        target.unwrap_or_else(|| "-".to_owned()),
        shown.knocks.to_string(),
        human(Duration::from_millis(shown.left_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    fn grant(id: u64, user: &str, allow: &str, until: u64) -> Grant {
        Grant {
            until: Timestamp::from_millis(until),
            ..fixture::grant(id, user, allow, &["tcp/22", "udp/60000-61000"])
        }
    }

    #[test]
    fn grants_are_columns_sorted_by_end() {
        let target = Some("10.0.0.5".parse().unwrap());
        let grants = vec![
            grant(2, "bob", "2001:db8::7/128", 90_000),
            Grant {
                target,
                services: vec!["tcp/80".parse().unwrap()],
                ..grant(10, "alice-the-second", "192.0.2.0/24", 30_900)
            },
            grant(3, "eve", "198.51.100.1/32", 500),
        ];
        let expected = "\
ID  USER              ADDRESS          SERVICES                 TARGET    KNOCKS  LEFT
3   eve               198.51.100.1/32  tcp/22, udp/60000-61000  -         3       0s
10  alice-the-second  192.0.2.0/24     tcp/80                   10.0.0.5  10      29.9s
2   bob               2001:db8::7/128  tcp/22, udp/60000-61000  -         2       1m 29s
";
        let listed = grants.into_iter().map(|grant| ListedGrant {
            knocks: grant.id.0,
            grant,
        });
        let found = table(&shown(listed.collect(), Timestamp::from_millis(1_000)));
        assert_eq!(found, expected);
        assert_eq!(table(&[]), "nothing is open\n");
    }
}
