//! What `redial phones` takes.

use super::script::Scenario;
use super::target::Target;
use clap::Args;
use ipnet::IpNet;
use std::path::PathBuf;
use std::time::Duration;

/// A swarm of phones, and the server that they meet.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The server: `ldap://HOST` or `ldaps://HOST`, with `:PORT` where it is not the usual one; nobody else is connected to
    pub(crate) url: Target,
    /// What the phones do
    #[arg(long, value_enum, default_value_t = Scenario::TypeAhead)]
    pub(crate) scenario: Scenario,
    /// Phones, each with one connection at a time
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=250_000))]
    pub(crate) connections: u32,
    /// Beside a boot storm, phones that are connected already, each with ten caller lookups a second: the report compares their latency
    /// before the storm and during it, while those that boot leave the processors to them and to the server, as other machines would (wholly
    /// so as root: then nothing runs where a live phone could)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) live: u32,
    /// Keep each connection, instead of one for each operation
    #[arg(long)]
    pub(crate) keep: bool,
    /// StartTLS on ldap://
    #[arg(long)]
    pub(crate) start_tls: bool,
    /// Resume TLS sessions, as phones do that are able to
    #[arg(long)]
    pub(crate) resume: bool,
    /// PEM file with the CA of the server's certificate [default: the system's]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Believe every certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Operations that become due in each second; without it each phone goes on as soon as it is answered
    #[arg(long, value_name = "R")]
    pub(crate) rate: Option<f64>,
    /// How long it runs [default: 10s, unless --count is given; a boot storm ends when each phone has booted]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// How many operations in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// For one operation, with connecting where it must
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Connect from the addresses of this network, in turn: 127.0.0.0/24 makes more than 28,000 connections possible
    #[arg(long, value_name = "NETWORK")]
    pub(crate) source: Option<IpNet>,
    /// Where searches begin [default: the naming context that the server names]
    #[arg(long, value_name = "DN")]
    pub(crate) base: Option<String>,
    /// Bind under this name on each connection; without it phones are anonymous
    #[arg(long, value_name = "DN", requires = "password_file")]
    pub(crate) bind_dn: Option<String>,
    /// Its password: the file's first line
    #[arg(long, value_name = "FILE", requires = "bind_dn")]
    pub(crate) password_file: Option<PathBuf>,
    /// What is asked for of each entry; * for everything [default: the attributes of names and numbers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) attributes: Vec<String>,
    /// Attributes that hold names
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "cn,sn")]
    pub(crate) name_attributes: Vec<String>,
    /// Attributes that hold numbers
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "telephoneNumber,mobile")]
    pub(crate) number_attributes: Vec<String>,
    /// The most entries of an answer; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=0x7fff_ffff))]
    pub(crate) size_limit: u32,
    /// Names to type, one a line [default: learned from the server by one search]
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
    /// Numbers of callers, one a line [default: learned from the server]
    #[arg(long, value_name = "FILE")]
    pub(crate) numbers: Option<PathBuf>,
    /// Phones that ring, and ask, for one call
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ring_group: u64,
    /// Of a hundred keys, those that come before the answer and abandon it
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) abandon: u64,
    /// Processes of the server on this machine: their CPU time is reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) server_pid: Vec<u32>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also write the report as a picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

impl Arguments {
    /// What clap does not look at.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.url.tls && self.start_tls {
            return Err("--start-tls begins on ldap://, where ldaps:// has TLS already");
        }
        let has_tls = self.url.tls || self.start_tls;
        if !has_tls && (self.resume || self.insecure || self.ca.is_some()) {
            return Err("--resume, --ca and --insecure need TLS: ldaps://, or --start-tls");
        }
        if self.live > 0 && self.scenario != Scenario::BootStorm {
            return Err("--live goes with --scenario boot-storm");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && (0.001..=10_000_000.0).contains(&rate))) {
            return Err("--rate must be between 0.001 and 10000000 a second");
        }
        if self.timeout.is_zero()
            || self.timeout > LONGEST
            || self.duration.is_some_and(|duration| duration.is_zero() || duration > LONGEST)
        {
            return Err("--duration and --timeout must be more than nothing and at most a day");
        }
        if self.name_attributes.iter().chain(&self.number_attributes).chain(&self.attributes).any(String::is_empty) {
            return Err("an attribute has an empty name");
        }
        Ok(())
    }

    /// How many operations at most: a boot storm is one a phone.
    pub(super) fn most_operations(&self) -> Option<u64> {
        let is_storm = self.scenario == Scenario::BootStorm;
        self.count.or_else(|| is_storm.then(|| u64::from(self.connections)))
    }

    /// How long at most; always bounded, one way or the other.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.duration.or_else(|| self.most_operations().is_none().then_some(USUAL))
    }

    /// Whether connections stay; after a boot each phone hangs up.
    pub(super) fn keeps(&self) -> bool {
        self.keep && self.scenario != Scenario::BootStorm
    }

    /// How it is measured, in words.
    pub(super) fn manner(&self) -> String {
        let tls = match (self.url.tls, self.start_tls) {
            (true, _) => "LDAPS",
            (_, true) => "StartTLS",
            _ => "plain",
        };
        let resumption = if self.resume { " with resumption" } else { "" };
        let kept = if self.keeps() { "kept connections" } else { "a connection for each operation" };
        let live = if self.live > 0 { format!(", {} live phones beside", self.live) } else { String::new() };
        let loop_ = self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate} due a second"));
        format!("{} phones{live}, {tls}{resumption}, {kept}, {loop_}", self.connections)
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Long enough for the tail of the latencies to be seen.
const USUAL: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Arguments {
        Line::try_parse_from(format!("phones {line}").split_whitespace()).unwrap().arguments
    }

    #[test]
    fn it_always_ends() {
        assert_eq!((parsed("ldap://x").most_operations(), parsed("ldap://x").longest()), (None, Some(USUAL)));
        let counted = parsed("ldap://x --count 7");
        assert_eq!((counted.most_operations(), counted.longest()), (Some(7), None));
        let storm = parsed("ldap://x --scenario boot-storm --connections 9 --keep");
        assert_eq!((storm.most_operations(), storm.longest(), storm.keeps()), (Some(9), None, false));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(parsed("ldap://x --keep --rate 100 --duration 2s").check(), Ok(()));
        assert_eq!(parsed("ldap://x --scenario boot-storm --live 5").check(), Ok(()));
        assert_eq!(parsed("ldap://x --start-tls --resume --insecure").check(), Ok(()));
        for line in [
            "ldaps://x --start-tls",
            "ldap://x --resume",
            "ldap://x --rate 0",
            "ldap://x --rate NaN",
            "ldap://x --timeout 0s",
            "ldap://x --live 5",
            "ldap://x --attributes cn,",
        ] {
            assert!(parsed(line).check().is_err(), "{line}");
        }
    }

    #[test]
    fn the_manner_is_told_in_words() {
        let line = "ldaps://x --connections 7 --resume --rate 2.5";
        assert_eq!(parsed(line).manner(), "7 phones, LDAPS with resumption, a connection for each operation, 2.5 due a second");
    }
}
