//! A list is looked at before it is signed: what the ledger would refuse is named with what to do.

use ledger_node::key::ValidatorKey;
use schemas::id::PublicKey;

use super::*;

/// Four validators of epoch 2 and one newcomer, with their keys.
fn world() -> (Genesis, EpochRecord, Vec<ValidatorKey>) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = |index: usize| {
        let path = folder.path().join(format!("{index}.key"));
        key::create(&path).expect("a new file");
        key::open(&path).expect("just made")
    };
    let keys: Vec<_> = (0..5).map(key).collect();
    let of = |index: usize| Validator { name: format!("v{index}"), key: keys[index].public() };
    let validators: Vec<_> = (0..4).map(of).collect();
    let genesis = Genesis { created: 0, validators: validators.clone(), institutions: vec![] };
    let current = EpochRecord { epoch: 2, first: 513, members: validators, decided_at: 300 };
    (genesis, current, keys)
}

fn member(name: &str, key: PublicKey) -> Member {
    Member { name: name.into(), key, possession: None }
}

#[test]
fn a_list_that_the_ledger_would_refuse_is_named() {
    let (genesis, current, keys) = world();
    let seat = |epoch, name: &str| {
        let seat = Validator { name: name.into(), key: keys[4].public() };
        keys[4].sign_bytes(&possession_to_sign(&genesis.chain_id(), epoch, &seat))
    };
    let mut list: Vec<_> = current.members.iter().map(|one| member(&one.name, one.key)).collect();
    list.push(Member { possession: Some(seat(2, "v4")), ..member("v4", keys[4].public()) });
    let checked = check(&genesis, &current, list.clone()).expect("as it must be");
    assert_eq!(checked, list);
    // whoever stays carries nothing, also when the file has it
    let mut more = list.clone();
    more[0].possession = Some(seat(2, "v0"));
    assert_eq!(check(&genesis, &current, more).expect("put right"), list);
    let refused = |change: &dyn Fn(&mut Vec<Member>)| {
        let mut list = list.clone();
        change(&mut list);
        let failure = check(&genesis, &current, list).expect_err("refused");
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    };
    assert!(refused(&|list| list[4].possession = None).contains("v4: found a newcomer without possession"));
    for wrong in [seat(1, "v4"), seat(2, "v5")] {
        assert!(refused(&|list| list[4].possession = Some(wrong)).contains("v4: found a possession that does not"));
    }
    assert!(refused(&|list| list.truncate(3)).contains("expected 4 to 64 members"));
    assert!(refused(&|list| list[1].name = "v0".into()).contains("expected every name and key once"));
    assert!(refused(&|list| list[1].name = "v 1".into()).contains("letters, digits"));
}
