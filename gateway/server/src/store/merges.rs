//! Merges of patients' records as rows: who was merged into whom, and whether that was taken back. Written by the way in with the
//! intents of the message that says so, read by the way out. Nothing is rewritten: each record keeps its subject.

use std::collections::{BTreeMap, BTreeSet};

use schemas::id::SubjectId;
use schemas::limits;
use sqlx::Row as _;

use super::rows::insert;
use super::subjects::subject;
use super::{Store, StoreError, Write, failed};

/// What a message said about two subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Whose record goes.
    pub prior: SubjectId,
    /// Whose record stays.
    pub surviving: SubjectId,
    /// The message.
    pub inbox_id: i64,
    /// They are two people after all.
    pub undone: bool,
}

/// Writes merges; the same message says the same once.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, merges: &[Merge]) -> Result<(), StoreError> {
    let into = ("subject_merge (prior, surviving, inbox_id, undone)", 4, "ON CONFLICT DO NOTHING");
    insert(write, into, merges, |query, merge| {
        let (prior, surviving) = (merge.prior.0.to_vec(), merge.surviving.0.to_vec());
        query.bind(prior).bind(surviving).bind(merge.inbox_id).bind(i64::from(merge.undone))
    })
    .await
}

/// A subject that is one person with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub subject: SubjectId,
    /// Whether the other's record was merged into this one's: what this one permits holds for the other too.
    pub survives: bool,
}

/// Everyone who is one person with a subject now, without the subject itself; at most `limits::MERGED_SUBJECTS_MAX`.
///
/// # Errors
/// `StoreError`; `Corrupt` where more are merged than may be: then nothing can be decided.
pub async fn others(store: &Store, of: &SubjectId) -> Result<Vec<Member>, StoreError> {
    let (mut known, mut next) = (BTreeSet::from([*of]), vec![*of]);
    let mut edges: Vec<(SubjectId, SubjectId)> = Vec::new();
    let mut parted = BTreeSet::new();
    while let Some(at) = next.pop() {
        let (in_force, undone) = said(store, &at).await?;
        if at == *of {
            parted.extend(undone.into_iter().flatten());
        }
        for edge in in_force {
            if !edges.contains(&edge) {
                edges.push(edge);
            }
            for end in [edge.0, edge.1] {
                if known.insert(end) {
                    next.push(end);
                }
            }
        }
        if known.len() > limits::MERGED_SUBJECTS_MAX {
            return Err(StoreError::Corrupt { what: "subject_merge: too many subjects are one person" });
        }
    }
    let (mut above, mut next) = (BTreeSet::new(), vec![*of]);
    while let Some(at) = next.pop() {
        for (_, surviving) in edges.iter().filter(|(prior, _)| *prior == at) {
            if above.insert(*surviving) {
                next.push(*surviving);
            }
        }
    }
    // whom the hospital's last word sets apart is another person, whatever joins them by others
    known.retain(|subject| subject != of && !parted.contains(subject));
    Ok(known.into_iter().map(|subject| Member { subject, survives: above.contains(&subject) }).collect())
}

/// Merges of a subject that hold, (prior, surviving), and pairs that are two people by the last word about them.
type Said = (Vec<(SubjectId, SubjectId)>, Vec<[SubjectId; 2]>);

async fn said(store: &Store, of: &SubjectId) -> Result<Said, StoreError> {
    let sql = "SELECT prior, surviving, undone FROM subject_merge WHERE prior = $1 OR surviving = $1 ORDER BY id";
    let query = sqlx::query(sql).bind(of.0.to_vec());
    let rows = query.fetch_all(store.reader()).await.map_err(failed("subject_merge"))?;
    // by pair, whichever of the two is named first: the last word counts
    let mut pairs: BTreeMap<[SubjectId; 2], Option<(SubjectId, SubjectId)>> = BTreeMap::new();
    for row in &rows {
        let (prior, surviving) = (subject(row, 0)?, subject(row, 1)?);
        let undone: i64 = row.try_get(2).map_err(failed("subject_merge.undone"))?;
        let pair = if prior < surviving { [prior, surviving] } else { [surviving, prior] };
        pairs.insert(pair, (undone == 0).then_some((prior, surviving)));
    }
    let undone = pairs.iter().filter(|(_, merge)| merge.is_none()).map(|(pair, _)| *pair).collect();
    Ok((pairs.into_values().flatten().collect(), undone))
}
