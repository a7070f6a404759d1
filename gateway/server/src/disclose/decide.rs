//! *decide*: what the patient's consents in force allow, unit by unit, at one finalised height that is fresh. Consent set and
//! height are read in one statement, so that a decision names exactly the state it was taken at. Scopes narrow first.
//! What cannot be read is withheld, never passed on.

use gateway_consent::{AccessRequest, Action, Actor, Decision, Permit, Reason, Reference, Session, UnitFacts, UnitId};
use gateway_vault::SubjectKey;
use schemas::cbor;
use schemas::id::{CaseId, ConsentId, Height, SubjectId, TimeMs};
use schemas::json::{self, Value};
use schemas::state::{self, ConsentSet};
use sqlx::Row as _;

use super::query::{Place, Row};
use crate::consents::document_context;
use crate::smart::{Client, Grant, Interaction};
use crate::store::summaries::{Reader, Summary};
use crate::store::{Store, StoreError, failed};

/// The consents of one subject at one height.
pub struct View {
    /// The height.
    pub height: Height,
    /// The live set; empty when the subject never granted one.
    pub set: ConsentSet,
}

/// Reads height and live set in one snapshot.
///
/// # Errors
/// `StoreError`; `Corrupt` when the follower's rows do not decode.
pub async fn view(store: &Store, subject: &SubjectId) -> Result<View, StoreError> {
    let sql = "SELECT (SELECT height FROM chain_cursor WHERE id = 1), (SELECT value FROM chain_state WHERE key = $1)";
    let row = sqlx::query(sql)
        .bind(state::consent_set_key(subject))
        .fetch_one(store.reader())
        .await
        .map_err(failed("chain_state"))?;
    let height: Option<i64> = row.try_get(0).map_err(failed("chain_cursor"))?;
    let set: Option<Vec<u8>> = row.try_get::<Option<Vec<u8>>, _>(1).map_err(failed("chain_state"))?;
    let set = match set {
        Some(bytes) => cbor::decode(&bytes).map_err(|_| StoreError::Corrupt { what: "chain_state consent set" })?,
        None => ConsentSet::default(),
    };
    Ok(View { height: height.unwrap_or(0).unsigned_abs(), set })
}

/// The request as the consent engine sees it.
pub fn request(client: &Client, action: Action) -> AccessRequest {
    let is_person = |reference: &&Reference| {
        let persons = ["Practitioner", "PractitionerRole", "RelatedPerson", "Person"];
        matches!(reference, Reference::Resource { kind, .. } if persons.contains(&&**kind))
    };
    let actor = Actor {
        client_id: client.id.clone(),
        organizations: client.references.iter().filter(|r| !is_person(r)).cloned().collect(),
        practitioners: client.references.iter().filter(is_person).cloned().collect(),
        roles: client.roles.clone(),
    };
    AccessRequest { actor, purpose: client.purposes.clone(), action }
}

/// What is known of a row without opening its case.
pub struct Known {
    /// What the consent engine decides on.
    pub facts: UnitFacts,
    /// What searches match; for a Consent the document.
    pub matched: Value,
    /// Reference as sent → reference here.
    pub references: Vec<(String, String)>,
}

/// A row that may be opened, and only this row.
pub struct Permitted {
    /// The row.
    pub row: Row,
    /// What matching reads.
    pub known: Known,
    /// Leave to open it.
    pub leave: Leave,
}

/// On what ground a row may be opened.
#[derive(Clone, Debug)]
pub enum Leave {
    /// A consent allows it.
    Consent(Permit),
    /// A Consent itself, for a client whose token may change it: who ends a consent must be able to find it. Opens no case.
    Steward(ConsentId),
}

impl Leave {
    /// The consent that allows it.
    pub const fn consent(&self) -> ConsentId {
        match self {
            Self::Consent(permit) => permit.consent(),
            Self::Steward(consent) => *consent,
        }
    }

    /// The provision that allows it.
    pub fn path(&self) -> &str {
        match self {
            Self::Consent(permit) => permit.path(),
            Self::Steward(_) => "scope system/Consent.u",
        }
    }
}

/// The unit that a row is decided as. A Consent stands as unit 0 of a case that has its id.
pub fn unit_of(row: &Row) -> UnitId {
    match &row.place {
        Place::Unit { case, case_version, unit, .. } => UnitId { case: *case, version: *case_version, index: *unit },
        Place::Document { consent, .. } => UnitId { case: CaseId(consent.0), version: 1, index: 0 },
    }
}

/// The sessions that decide about one subject's rows: its own, and those of everyone who is one person with it (`store::merges`). The
/// denials of all hold; a permit is the subject's own, or of one into whose record its own was merged.
pub struct Sessions {
    own: Session,
    survivors: Vec<Session>,
    others: Vec<Session>,
}

impl Sessions {
    /// Of the subject itself and of the others, each with whether it survives.
    pub fn new(own: Session, all: Vec<(Session, bool)>) -> Self {
        let (survivors, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, survives)| *survives);
        let sessions = |all: Vec<(Session, bool)>| all.into_iter().map(|(session, _)| session).collect();
        Self { own, survivors: sessions(survivors), others: sessions(others) }
    }

    /// The lowest height at which one of them was taken.
    pub fn height(&self) -> Height {
        let merged = self.survivors.iter().chain(&self.others);
        merged.map(Session::height).fold(self.own.height(), Height::min)
    }

    /// Whether a resource of this type may be shown at all, whatever is in it.
    pub fn may_show(&self, grant: &Grant, resource_type: &str) -> bool {
        !self.permits_nothing() || resource_type == "Consent" && grant.scopes.covers("Consent", Interaction::Update)
    }

    fn permits_nothing(&self) -> bool {
        self.own.permits_nothing() && self.survivors.iter().all(Session::permits_nothing)
    }

    fn decide(&self, unit: UnitId, facts: &UnitFacts) -> Decision {
        let is_denial =
            |decision: &Decision| matches!(decision, Decision::Deny(d) if *d.reason() != Reason::NoneApplies);
        let own = self.own.decide(unit, facts);
        if is_denial(&own) {
            return own;
        }
        for other in &self.others {
            let decision = other.decide(unit, facts);
            if is_denial(&decision) {
                return decision;
            }
        }
        let mut decision = own;
        for survivor in &self.survivors {
            let of_survivor = survivor.decide(unit, facts);
            if is_denial(&of_survivor) {
                return of_survivor;
            }
            if !decision.is_permit() {
                decision = of_survivor;
            }
        }
        decision
    }
}

/// The rows of one subject, decided.
#[derive(Default)]
pub struct Decided {
    /// What may be opened.
    pub permitted: Vec<Permitted>,
    /// How many may not, by consent or scope.
    pub withheld: u64,
}

/// Decides about every row. `key` is the subject's.
pub fn decide(rows: Vec<Row>, key: &SubjectKey, session: &Sessions, grant: &Grant, asked: Interaction) -> Decided {
    let (mut decided, mut reader) = (Decided::default(), Reader::new(key));
    for row in rows {
        match permitted(row, key, &mut reader, session, grant, asked) {
            Some(permitted) => decided.permitted.push(permitted),
            None => decided.withheld += 1,
        }
    }
    decided
}

fn permitted(
    row: Row,
    key: &SubjectKey,
    reader: &mut Reader<'_>,
    session: &Sessions,
    grant: &Grant,
    asked: Interaction,
) -> Option<Permitted> {
    if !session.may_show(grant, &row.resource_type) {
        return None;
    }
    let known = match known_of(&row, key, reader) {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(class = error.class().name(), "a row is withheld: {error}");
            return None;
        }
    };
    if !grant.scopes.covers_resource(&row.resource_type, asked, &known.matched) {
        return None;
    }
    // the scope may be for some categories only: the document says whether it is one of them
    let steward = match &row.place {
        Place::Document { consent, .. }
            if grant.scopes.covers_resource("Consent", Interaction::Update, &known.matched) =>
        {
            Some(*consent)
        }
        _ => None,
    };
    let leave = match (session.decide(unit_of(&row), &known.facts), steward) {
        (Decision::Permit(permit), _) => Leave::Consent(permit),
        (Decision::Deny(_), Some(consent)) => Leave::Steward(consent),
        (Decision::Deny(_), None) => return None,
    };
    Some(Permitted { row, known, leave })
}

/// What is known of a row without opening its case; of a Consent its document.
///
/// # Errors
/// `StoreError::Corrupt` when it is not what was stored.
pub fn known_of(row: &Row, key: &SubjectKey, reader: &mut Reader<'_>) -> Result<Known, StoreError> {
    match &row.place {
        Place::Unit { case, unit, summaries, .. } => {
            let corrupt = || StoreError::Corrupt { what: "cases.summaries" };
            let Summary { facts, matched, references } = reader.read(case, *unit, summaries)?;
            Ok(Known { facts: UnitFacts::from_json(&facts).ok_or_else(corrupt)?, matched, references })
        }
        Place::Document { consent, document } => {
            let corrupt = || StoreError::Corrupt { what: "consent_document.document" };
            let plain = key.open_row(&document_context(consent), document).map_err(|_| corrupt())?;
            let matched = json::parse(&plain).map_err(|_| corrupt())?;
            let mut facts = UnitFacts::of(&matched);
            facts.identity.push(Reference::local(&row.resource_type, &row.logical_id));
            Ok(Known { facts, matched, references: Vec::new() })
        }
    }
}

/// A session for one subject at one instant.
pub fn session(grant: &Grant, live: Vec<gateway_consent::LiveConsent>, height: Height, now: TimeMs) -> Session {
    let request = request(&grant.client, Action::Access);
    Session::new(&request, live, gateway_consent::DefaultRule::Deny, height, now)
}
