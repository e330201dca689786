//! What there is to ask, found out before anything is measured: a whole swarm comes out.

use super::arguments::Arguments;
use super::cores;
use super::door::{Door, TlsManner};
use super::learn::{Scout, Vocabulary, read_list};
use super::patience::within;
use super::phone::{Live, Swarm};
use super::question::{Manner, Request};
use super::script::{Plan, Scenario};
use super::tally::{Mishap, Tally, Trouble};
use crate::cli::Failure;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use zeroize::Zeroizing;

/// Finds out what there is to ask, over a first connection that is not measured: the swarm, and the live phones beside it.
pub(super) async fn gather(arguments: &Arguments) -> Result<(Swarm, Option<Swarm>), Failure> {
    let sources: Vec<IpAddr> = arguments.source.iter().flat_map(ipnet::IpNet::hosts).take(MOST_SOURCES).collect();
    let Arguments { start_tls, insecure, resume, .. } = *arguments;
    let tls = TlsManner { start_tls, ca: arguments.ca.as_deref(), insecure, resume };
    let door = Door::open(&arguments.url, sources.clone(), &tls).await.map_err(Failure::configuration)?;
    let password = arguments.password_file.as_deref().map(first_line).transpose().map_err(Failure::configuration)?;
    let bind =
        Request::bind(arguments.bind_dn.as_deref().unwrap_or_default(), password.as_deref().map_or(&[], |password| password.as_bytes()));
    let listed = |file: &Option<_>| file.as_deref().map(read_list).transpose().map_err(Failure::configuration);
    let (names, numbers) = (listed(&arguments.names)?, listed(&arguments.numbers)?);

    let patience = arguments.timeout;
    let binds_first = arguments.bind_dn.is_some();
    let mut scout = arrive(arguments, &door, binds_first.then_some(&bind)).await?;
    let base = match &arguments.base {
        Some(base) => base.clone(),
        None => base_of(&mut scout, arguments).await?,
    };
    let needs = (arguments.scenario.needs_names() && names.is_none(), arguments.scenario.needs_numbers() && numbers.is_none());
    let learned = learn(&mut scout, arguments, &base, needs).await?;
    // A server that does not hear it is left alone.
    let _ = tokio::time::timeout(FAREWELL, scout.leave()).await;

    let manner = Manner {
        base,
        attributes: asked_for(arguments),
        name_attributes: arguments.name_attributes.clone(),
        number_attributes: arguments.number_attributes.clone(),
        size_limit: arguments.size_limit,
    };
    let (names, numbers) = (names.unwrap_or(learned.names), numbers.unwrap_or(learned.numbers));
    let plan = |scenario| Plan::new(scenario, &manner, &names, &numbers, arguments.ring_group, arguments.abandon);
    let tallies = || (0..cores() * TALLIES_A_CORE).map(|_| Mutex::new(Tally::new())).collect();
    let swarm = |door, bind, scenario, keep| Swarm {
        door,
        plan: plan(scenario),
        bind,
        binds_first,
        keep,
        patience,
        live: Live::default(),
        tallies: tallies(),
    };
    let live = if arguments.live > 0 {
        let door = Door::open(&arguments.url, sources, &tls).await.map_err(Failure::configuration)?;
        Some(swarm(door, bind.clone(), Scenario::Caller, true))
    } else {
        None
    };
    Ok((swarm(door, bind, arguments.scenario, arguments.keeps()), live))
}

/// The names and the numbers that the server has, where they are needed.
async fn learn(scout: &mut Scout, arguments: &Arguments, base: &str, needs: (bool, bool)) -> Result<Vocabulary, Failure> {
    if needs == (false, false) {
        return Ok(Vocabulary::default());
    }
    let asking = scout.vocabulary(base, &arguments.name_attributes, &arguments.number_attributes);
    let learned = within(arguments.timeout, asking).await;
    let learned = learned.map_err(|mishap| unreachable(arguments, &mishap))?;
    let shows_no = |what| Err(Failure::configuration(format_args!("{base} shows no {what}: give --{what}, --base or --bind-dn")));
    match needs {
        (true, _) if learned.names.is_empty() => shows_no("names"),
        (_, true) if learned.numbers.is_empty() => shows_no("numbers"),
        _ => Ok(learned),
    }
}

/// Over a first connection, bound where phones bind first.
async fn arrive(arguments: &Arguments, door: &Door, bind: Option<&Request>) -> Result<Scout, Failure> {
    within(arguments.timeout, Scout::arrive(door, bind)).await.map_err(|mishap| match mishap.trouble {
        Trouble::Tls => {
            let advice = "--ca names the CA of its certificate, --insecure believes any";
            Failure::fault(format_args!("{}: {mishap} ({advice})", arguments.url))
        }
        _ => unreachable(arguments, &mishap),
    })
}

/// The naming context that the server says it has.
async fn base_of(scout: &mut Scout, arguments: &Arguments) -> Result<String, Failure> {
    let base = within(arguments.timeout, scout.base()).await.map_err(|mishap| unreachable(arguments, &mishap))?;
    base.ok_or_else(|| Failure::configuration("the server names no naming context: give --base"))
}

fn unreachable(arguments: &Arguments, mishap: &Mishap) -> Failure {
    Failure::fault(format_args!("{}: {mishap}", arguments.url))
}

fn asked_for(arguments: &Arguments) -> Vec<String> {
    if arguments.attributes.is_empty() {
        [arguments.name_attributes.as_slice(), &arguments.number_attributes].concat()
    } else {
        arguments.attributes.clone()
    }
}

fn first_line(file: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|error| format!("{}: {error}", file.display()))?;
    let line = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if line.is_empty() { Err(format!("{}: its first line, the password, is empty", file.display())) } else { Ok(line) }
}

/// Addresses to connect from: 28,000 ports each are more than a machine has memory for.
const MOST_SOURCES: usize = 4096;
/// So that phones hardly ever meet at one.
const TALLIES_A_CORE: usize = 4;
const FAREWELL: Duration = Duration::from_millis(100);
