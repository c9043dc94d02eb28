//! Ids of usages.

use proptest::prelude::*;
use usage::{CheckKey, IdKind, UsageId, limits};

const KEY: CheckKey = CheckKey([7; 16]);
const OTHER_KEY: CheckKey = CheckKey([8; 16]);

#[test]
fn ids_never_change() {
    let plain = UsageId::plain(1_790_000_000_123, 5, 77, &KEY);
    assert_eq!(plain.to_string(), "01a0c450-6c7b-7005-8000-00000137c326");
    let keyed = UsageId::keyed("default", "event-4711");
    assert_eq!(keyed.to_string(), "34bc6a44-aed8-8974-8967-704d5efcbcb4");
    let event = UsageId::event("default", "100", "event-4711");
    assert_eq!(event.to_string(), "1667111e-6ec7-88bc-ac74-dfe747ba5540");
}

#[test]
fn a_key_belongs_to_its_principal_and_an_event_also_to_its_patient() {
    let ids = [
        UsageId::keyed("default", "k"),
        UsageId::keyed("defaul", "tk"),
        UsageId::keyed("", "defaultk"),
        UsageId::keyed("defaultk", ""),
        UsageId::keyed("default", "K"),
        UsageId::event("default", "1", "k"),
        UsageId::event("default", "2", "k"),
        UsageId::event("default", "", "1k"),
        UsageId::event("default1", "", "k"),
        UsageId::event("other", "1", "k"),
    ];
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(id.kind(), IdKind::Keyed);
        assert!(!id.verify(&KEY));
        assert!(!ids[..index].contains(id));
    }
}

#[test]
fn an_id_has_one_spelling() {
    let check = |text: &str, expected: bool| {
        assert_eq!(text.parse::<UsageId>().is_ok(), expected, "{text}");
    };
    check("0199f5d2-9c7b-7005-8000-0000013542c5", true);
    check("0199F5D2-9C7B-7005-8000-0000013542C5", true);
    check("0199f5d29c7b700580000000013542c5", false);
    check("{0199f5d2-9c7b-7005-8000-0000013542c5}", false);
    check("urn:uuid:0199f5d2-9c7b-7005-8000-0000013542c5", false);
    check("0199f5d2-9c7b-7005-8000-0000013542cg", false);
    check("0199f5d2-9c7b-7005-80000-000013542c5", false);
    check("", false);
    check("ééééééééé-ééééééé-é", false);
}

#[test]
fn ids_that_are_not_ours() {
    for text in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "0199f5d2-9c7b-4005-8000-0000013542c5",
        "0199f5d2-9c7b-7005-4000-0000013542c5",
        "0199f5d2-9c7b-7005-c000-0000013542c5",
    ] {
        let id: UsageId = text.parse().unwrap();
        assert_eq!(id.kind(), IdKind::Foreign, "{text}");
        assert!(!id.verify(&KEY));
    }
}

prop_compose! {
    fn parts()(
        ms in 0..=limits::RECEIVED_MS_MAX,
        store in 0..=limits::STORE_NUMBER_MAX,
        seq in 0..=limits::SEQUENCE_MAX,
    ) -> (u64, u16, u64) {
        (ms, store, seq)
    }
}

proptest! {
    #[test]
    fn a_plain_id_tells_its_parts((ms, store, seq) in parts()) {
        let id = UsageId::plain(ms, store, seq, &KEY);
        let IdKind::Plain { received_ms, store_number, seq: found_seq, .. } = id.kind() else {
            panic!("plain gives a plain id");
        };
        prop_assert_eq!((received_ms, store_number, found_seq), (ms, store, seq));
        prop_assert!(id.verify(&KEY));
        prop_assert_eq!(id.to_string().parse::<UsageId>(), Ok(id));
        prop_assert_eq!(UsageId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn ids_sort_by_time_store_and_sequence(a in parts(), b in parts()) {
        let id = |(ms, store, seq)| UsageId::plain(ms, store, seq, &KEY);
        prop_assert_eq!(id(a).cmp(&id(b)), a.cmp(&b));
        prop_assert_eq!(id(a).to_bytes().cmp(&id(b).to_bytes()), a.cmp(&b));
        prop_assert_eq!(id(a).to_string().cmp(&id(b).to_string()), a.cmp(&b));
    }

    #[test]
    fn a_keyed_id_is_keyed(principal in ".*", key in ".*") {
        let id = UsageId::keyed(&principal, &key);
        prop_assert_eq!(id.kind(), IdKind::Keyed);
        prop_assert_eq!(id, UsageId::keyed(&principal, &key));
    }
}

/// Of ids counted through without the secret, one in 2^18 would pass; of a thousand, none here.
#[test]
fn guessed_ids_do_not_verify() {
    let passing = |key: &CheckKey| {
        (0..1000).filter(|&seq| UsageId::plain(1_790_000_000_123, 0, seq, key).verify(&KEY)).count()
    };
    assert_eq!(passing(&OTHER_KEY), 0);
    assert_eq!(passing(&KEY), 1000);
}

#[test]
fn a_changed_bit_is_noticed() {
    let id = UsageId::plain(1_790_000_000_123, 5, 77, &KEY);
    let flipped = |bit: usize| {
        let mut bytes = id.to_bytes();
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        UsageId::from_bytes(bytes)
    };
    assert_eq!((0..128).filter(|&bit| flipped(bit).verify(&KEY)).count(), 0);
}

#[test]
fn the_secret_is_not_shown() {
    assert_eq!(format!("{KEY:?}"), "CheckKey(secret)");
}
