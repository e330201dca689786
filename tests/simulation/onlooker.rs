//! Somebody who looks into the cache at any moment: it has not outgrown its room, and what it answers at once it holds, may show, and is not old.

use crate::Site;
use crate::common::requests::search_for;
use crate::controllers::values_of;
use crate::house::House;
use crate::truth::{BASE, PEOPLE, parse_canary, person};
use crate::weather::up_to;
use redial::cache::Spelling;
use redial::identity::{Identity, Principal};
use redial::ldap::envelope::{Envelope, MessageId, op};
use redial::ldap::frame::frame_length;
use redial::pipeline::answers::Wanted;
use redial::pipeline::{Client, Pipeline};
use redial::session::{ClientMessageId, Security};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

impl House {
    /// Looks on until the end.
    pub(crate) async fn look_on(self, site: Arc<Site>, mut random: fastrand::Rng) {
        loop {
            sleep(up_to([20, 1_000, 20_000], &mut random)).await;
            let pipeline = Arc::clone(&self.pipeline.load());
            self.weigh(&pipeline);
            // Where searches run under clients' names, nobody has what is a client's own without its password.
            if !site.weather.as_client {
                ask_at_once(&pipeline, &site, &mut random);
            }
        }
    }

    /// The cache is not larger than it may be.
    pub(crate) fn weigh(&self, pipeline: &Pipeline) {
        let ((answers, octets), capacity) = (pipeline.cache_holds(), self.capacity());
        if octets > capacity {
            self.truth.wrong(&format!("{answers} answers take {octets} octets of {capacity}"));
        }
    }
}

/// Asks in octets, or in a form, that phones may have asked in before.
fn ask_at_once(pipeline: &Pipeline, site: &Site, random: &mut fastrand::Rng) {
    let who = Some(random.usize(..=PEOPLE)).filter(|who| *who < PEOPLE);
    let principal = |who| Identity::Bound(Arc::new(Principal::proved(person(who), 0, None, None)));
    let client = Client::new(([10, 20, 1, 8], 50_000).into(), 0, Security::Tls, who.map(principal).unwrap_or_default());
    let base = if random.bool() { BASE.to_owned() } else { person(random.usize(..PEOPLE)) };
    let filter = ["(cn=*)", "(objectClass=*)"][random.usize(..2)];
    let request = search_for(&base, filter, [&["cn", "description"][..], &[], &["description"]][random.usize(..3)]);

    let (now, mut answer) = (Instant::now(), Vec::new());
    let Some(standing) = pipeline.standing(&client) else { return };
    let message_id = ClientMessageId::new(MessageId::new(1).unwrap()).unwrap();
    if !pipeline.hits(now).answer(&Spelling { standing, op: &request }, message_id, &mut answer) {
        return;
    }
    site.sent("search");
    let held = pipeline.kept_answers(&Wanted { base: Some(&base), filter: Some(filter), ..Wanted::default() }, None, 1);
    if held.unwrap().is_empty() {
        site.truth.wrong(&format!("{filter} at {base} is answered, and no answer to it is kept"));
    }
    for (attribute, value) in entries(&answer).flat_map(|entry| values_of(&entry)) {
        let Some((whose, version)) = parse_canary(&value) else { continue };
        if Some(whose) != who {
            site.truth.wrong(&format!("{who:?} asks for what came before, and sees {attribute} {value}"));
        }
        site.truth.read(whose, version, now, &site.weather);
    }
}

/// The contents of the entries in an answer.
fn entries(mut answer: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let length = frame_length(answer, usize::MAX).unwrap()?;
        let (frame, rest) = answer.split_at(length);
        answer = rest;
        let envelope = Envelope::parse(frame).unwrap();
        Some((envelope.op_tag == op::SEARCH_RESULT_ENTRY).then(|| envelope.op_content.to_vec()))
    })
    .flatten()
}
