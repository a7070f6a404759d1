//! Criteria against a request and against a unit's facts. Every function answers in three values; where a criterion
//! holds in part (one of two purposes, some of the dates) the answer is unknown, so that permits stop and denials count.

use schemas::id::TimeMs;

use crate::coding::{Codes, Coding};
use crate::facts::{Label, UnitFacts};
use crate::policy::{ActorRule, DataMeaning, DataRule, Effect, Provision};
use crate::reference::{self, Reference};
use crate::request::{AccessRequest, Action};
use crate::time::Span;
use crate::truth::Truth;

const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const CONSENT_ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const RESOURCE_TYPES: &str = crate::facts::RESOURCE_TYPES;

/// Purposes of v3-ActReason and the purpose that each is a kind of.
const PURPOSE_KIND: &[(&str, &str)] = &[
    ("ETREAT", "TREAT"),
    ("BTG", "ETREAT"),
    ("ERTREAT", "ETREAT"),
    ("COC", "TREAT"),
    ("TREATDS", "TREAT"),
    ("CLINTRCH", "HRESCH"),
    ("CLINTRCHNPC", "CLINTRCH"),
    ("CLINTRCHPC", "CLINTRCH"),
    ("BIORCH", "HRESCH"),
    ("DSRCH", "HRESCH"),
    ("POARCH", "HRESCH"),
    ("PRECLINTRCH", "CLINTRCH"),
    ("TRANSRCH", "HRESCH"),
    ("CLMATTCH", "HPAYMT"),
    ("COVAUTH", "HPAYMT"),
    ("ELIGDTRM", "HPAYMT"),
    ("ELIGVER", "HPAYMT"),
    ("REMITADV", "HPAYMT"),
    ("DISASTER", "PUBHLTH"),
    ("THREAT", "PUBHLTH"),
    ("FAMRQT", "PATRQT"),
    ("PWATRNY", "PATRQT"),
    ("SUPNWK", "PATRQT"),
];

/// A request with what is computed from it once.
pub(super) struct Requester<'r> {
    names: Vec<Reference>,
    roles: &'r [Coding],
    /// Each stated purpose with all that it is a kind of.
    purposes: Vec<Vec<Coding>>,
    action: Action,
    now: TimeMs,
}

impl<'r> Requester<'r> {
    pub(super) fn new(request: &'r AccessRequest, now: TimeMs) -> Self {
        let actor = &request.actor;
        Self {
            names: actor.organizations.iter().chain(&actor.practitioners).cloned().collect(),
            roles: &actor.roles,
            purposes: request.purpose.iter().map(with_kinds).collect(),
            action: request.action,
            now,
        }
    }

    /// What the request alone says about a provision.
    pub(super) fn fixed(&self, provision: &Provision) -> Truth {
        if provision.modified {
            return Truth::Unknown;
        }
        let criteria = [
            provision.period.map(|p| p.contains_ms(self.now).into()),
            provision.actors.as_deref().map(|actors| any(actors.iter().map(|a| self.actor(a)))),
            provision.actions.as_ref().map(|a| self.action(a)),
            provision.purposes.as_ref().map(|p| self.purpose(p)),
        ];
        all(criteria.into_iter().flatten())
    }

    fn actor(&self, rule: &ActorRule) -> Truth {
        let held = rule.role.name_any(self.roles);
        let Some(names) = &rule.names else {
            let comparable = self.roles.iter().any(|r| rule.role.iter().any(|c| c.system == r.system));
            return held.not_excluded_if(rule.role.opaque || !comparable);
        };
        let receives = ["IRCP", "PRCP"].map(|code| rule.role.names(&Coding::new(PARTICIPATION, code)));
        // In another role the named party may be the custodian or the author: it cannot be told from the request.
        let role = any(receives).or(held).not_excluded_if(true);
        reference::any_names(names, &self.names).and(role)
    }

    fn action(&self, actions: &Codes) -> Truth {
        let named = actions.names(&Coding::new(CONSENT_ACTION, self.action.code()));
        let akin = |code: &Coding| {
            let outward = [Action::Access, Action::Use, Action::Disclose].iter().any(|a| a.code() == &*code.code);
            *code.system != *CONSENT_ACTION || (outward && self.action.is_outward())
        };
        named.not_excluded_if(actions.opaque || actions.iter().any(akin))
    }

    fn purpose(&self, purposes: &Codes) -> Truth {
        let verdicts: Vec<Truth> = self.purposes.iter().map(|kinds| purposes.name_any(kinds)).collect();
        mixed(verdicts).not_excluded_if(purposes.opaque)
    }
}

fn with_kinds(purpose: &Coding) -> Vec<Coding> {
    let mut kinds = vec![purpose.clone()];
    if *purpose.system == *ACT_REASON {
        let mut code: &str = &purpose.code;
        while let Some((_, kind)) = PURPOSE_KIND.iter().find(|(c, _)| *c == code) {
            kinds.push(Coding::new(ACT_REASON, kind));
            code = kind;
        }
    }
    kinds
}

/// What a unit says about a provision.
pub(super) fn unit(provision: &Provision, facts: &UnitFacts) -> Truth {
    let criteria = [
        provision.classes.as_ref().map(|c| through(facts, &|f| class(c, f))),
        provision.codes.as_ref().map(|c| through(facts, &|f| code(c, f))),
        provision.labels.as_ref().map(|l| through(facts, &|f| labels(l, provision.effect, f))),
        provision.data_period.map(|period| dated(period, facts)),
        provision.data.as_deref().map(|rules| any(rules.iter().map(|rule| data(rule, facts)))),
    ];
    all(criteria.into_iter().flatten())
}

/// A criterion on the unit itself; what it holds inside (contained resources, entries) can only put a `False` in doubt.
fn through(facts: &UnitFacts, criterion: &dyn Fn(&UnitFacts) -> Truth) -> Truth {
    let own = criterion(facts).not_excluded_if(facts.incomplete);
    let doubt = own == Truth::False && facts.inner.iter().any(|inner| through(inner, criterion) != Truth::False);
    own.not_excluded_if(doubt)
}

/// A permit needs all of the unit's dates inside the period, a denial one. Undated parts inside share the unit's date.
fn dated(period: Span, facts: &UnitFacts) -> Truth {
    fn touches(period: Span, facts: &UnitFacts) -> bool {
        facts.date.is_some_and(|d| period.overlaps(d)) || facts.inner.iter().any(|inner| touches(period, inner))
    }
    match facts.date {
        None => Truth::Unknown,
        Some(date) if period.contains(date) => {
            let outside = |f: &UnitFacts| f.date.is_some_and(|d| !period.contains(d));
            Truth::True.doubted_if(facts.inner.iter().any(outside))
        }
        Some(_) => Truth::False.not_excluded_if(facts.incomplete || touches(period, facts)),
    }
}

fn class(classes: &Codes, facts: &UnitFacts) -> Truth {
    let own = classes.name_any(&facts.classes);
    // A document without a class of its own may be of any class that is not a resource type.
    let other_class = |c: &Coding| *c.system != *RESOURCE_TYPES;
    let uncoded = facts.is_document && !facts.classes.iter().any(other_class) && classes.iter().any(other_class);
    own.not_excluded_if(classes.opaque || uncoded)
}

fn code(codes: &Codes, facts: &UnitFacts) -> Truth {
    let own = codes.name_any(facts.codes.iter().chain(&facts.categories));
    // FHIR: "if this code is found in an instance"; elsewhere than in its code or category it is a matter of meaning.
    let elsewhere = own == Truth::False && codes.name_any(&facts.other_codes) != Truth::False;
    own.not_excluded_if(codes.opaque || facts.uncoded || elsewhere)
}

/// Confidentiality is a water mark: a permit reaches up to its level, a denial from its level upwards. Other labels must
/// be equal. A unit without a label of the named system is not known to lack it.
fn labels(wanted: &Codes, effect: Effect, facts: &UnitFacts) -> Truth {
    let mut systems: Vec<&str> = wanted.iter().map(|c| &*c.system).collect();
    systems.sort_unstable();
    systems.dedup();
    let verdicts = systems.into_iter().map(|system| {
        let named = wanted.iter().filter(|c| *c.system == *system);
        any(named.map(|coding| label(coding, effect, facts)))
    });
    mixed(verdicts.collect()).not_excluded_if(wanted.opaque)
}

fn label(wanted: &Coding, effect: Effect, facts: &UnitFacts) -> Truth {
    if let Some(level) = Label::level(wanted) {
        let Some(found) = facts.labels.iter().filter_map(Label::level).max() else { return Truth::Unknown };
        return match effect {
            Effect::Permit => (found <= level).into(),
            Effect::Deny => (found >= level).into(),
        };
    }
    let found = any(facts.labels.iter().map(|l| l.equals(wanted)));
    found.not_excluded_if(!facts.labels.iter().any(|l| l.system == wanted.system))
}

fn data(rule: &DataRule, facts: &UnitFacts) -> Truth {
    if rule.names.is_empty() {
        return Truth::Unknown;
    }
    let is_named = |f: &UnitFacts| any_same(&rule.names, &f.identity);
    let instance = through(facts, &is_named).not_excluded_if(facts.identity.is_empty());
    match rule.meaning {
        DataMeaning::Instance => instance,
        // What the instance refers to stands in the instance, not in the unit before us.
        DataMeaning::Related => instance.not_excluded_if(true),
        DataMeaning::Dependents => {
            instance.or(any_same(&rule.names, &facts.references)).not_excluded_if(facts.unresolved || facts.incomplete)
        }
        DataMeaning::AuthoredBy => {
            let authored = any(rule.names.iter().map(|name| name.is_among(&facts.authors)));
            authored.not_excluded_if(facts.unresolved || facts.incomplete)
        }
    }
}

/// Whether one of `names` is one of `known`, where resources of different types are different for sure.
fn any_same(names: &[Reference], known: &[Reference]) -> Truth {
    any(names.iter().flat_map(|name| known.iter().map(move |k| name.same_resource(k))))
}

fn any(truths: impl IntoIterator<Item = Truth>) -> Truth {
    truths.into_iter().max().unwrap_or(Truth::False)
}

fn all(truths: impl IntoIterator<Item = Truth>) -> Truth {
    truths.into_iter().min().unwrap_or(Truth::True)
}

/// All → true, none → false, some → unknown; nothing to judge → unknown.
fn mixed(truths: Vec<Truth>) -> Truth {
    match (truths.iter().min(), truths.iter().max()) {
        (Some(low), Some(high)) if low == high => *low,
        _ => Truth::Unknown,
    }
}
