//! What is refused before it costs anything.

use super::*;

#[test]
fn a_submission_of_too_many_is_refused_by_its_length() {
    let list = |count: usize| cbor::encode(&vec![TransactionBytes([].into()); count]);
    assert_eq!(submission(&list(limits::SUBMISSION_TRANSACTIONS_MAX)).map(|list| list.len()), Ok(256));
    let refused = submission(&list(limits::SUBMISSION_TRANSACTIONS_MAX + 1));
    assert_eq!(refused, Err("found 257 transactions, expected at most 256".to_owned()));
    // nothing follows: it is the length that is refused
    assert_eq!(submission(&[0x9a, 0, 0x0f, 0, 0]), Err("found 983040 transactions, expected at most 256".to_owned()));
    assert!(submission(&[0x9f, 0x40, 0xff]).is_err(), "without a length");
    assert!(submission(b"GET / HTTP/1.1").is_err());
}
