//! One request against one subject's live set: what depends on the request alone is evaluated once, then `decide` is
//! called for every unit. Denial overrides across consents; a permit needs every criterion from the root down to be true.

mod matching;

use std::sync::Arc;

use schemas::id::{ConsentId, Height, TimeMs};

use crate::decision::{Decision, Denial, Permit, Reason, UnitId};
use crate::facts::UnitFacts;
use crate::policy::{Effect, Policy};
use crate::request::{AccessRequest, DefaultRule, Document, LiveConsent};
use crate::truth::Truth;

/// A request, ready to decide about units. Valid at one height and one instant: build it anew for every request.
pub struct Session {
    rules: Vec<Rule>,
    /// A live consent whose document cannot be used denies everything.
    blocked: Option<(ConsentId, Reason)>,
    default: DefaultRule,
    height: Height,
}

/// One consent in force, with what the request alone decides.
struct Rule {
    id: ConsentId,
    policy: Arc<Policy>,
    /// Per provision: actor, purpose, action and period.
    fixed: Vec<Truth>,
}

/// What a subtree says: effect, index of the provision, and whether it holds for sure.
type Verdict = Option<(Effect, usize, Truth)>;

impl Session {
    /// Prepares `request` under all of the subject's live consents at the finalised `height`, at `now`.
    pub fn new(
        request: &AccessRequest,
        consents: Vec<LiveConsent>,
        default: DefaultRule,
        height: Height,
        now: TimeMs,
    ) -> Self {
        let request = matching::Requester::new(request, now);
        let mut rules = Vec::with_capacity(consents.len());
        let mut blocked = None;
        for consent in consents.into_iter().filter(|c| c.is_in_force(now)) {
            match consent.document {
                Document::Usable(policy) => {
                    let fixed: Vec<Truth> = policy.provisions.iter().map(|p| request.fixed(p)).collect();
                    if fixed.first() != Some(&Truth::False) {
                        rules.push(Rule { id: consent.id, policy, fixed });
                    }
                }
                Document::Missing => blocked = blocked.or(Some((consent.id, Reason::DocumentMissing))),
                Document::Unusable(error) => blocked = blocked.or(Some((consent.id, Reason::DocumentUnusable(error)))),
            }
        }
        Self { rules, blocked, default, height }
    }

    /// The height that every decision of this session names.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Whether no unit at all can be permitted: nothing needs to be read.
    pub fn permits_nothing(&self) -> bool {
        self.blocked.is_some() || !self.rules.iter().any(|rule| rule.policy.unknown.is_empty() && rule.may_permit(0))
    }

    /// Decides about one unit, whose facts are `facts`.
    pub fn decide(&self, unit: UnitId, facts: &UnitFacts) -> Decision {
        if let Some((consent, reason)) = &self.blocked {
            return self.deny(reason.clone(), Some(*consent));
        }
        let mut permit = None;
        for rule in &self.rules {
            match rule.verdict(facts) {
                Some((Effect::Deny, at, certain)) => {
                    let path = rule.path(at).into();
                    return self.deny(Reason::Provision { path, certain: certain == Truth::True }, Some(rule.id));
                }
                Some((Effect::Permit, at, _)) => permit = permit.or(Some((rule, at))),
                None => {}
            }
        }
        match (permit, self.default) {
            (Some((rule, at)), _) => Decision::Permit(Permit::new(unit, rule.id, rule.path(at), self.height)),
            (None, DefaultRule::Deny) => self.deny(Reason::NoneApplies, None),
        }
    }

    /// What each consent says about a unit on its own, in the order of the live set: for `consent explain`.
    pub fn explain(&self, facts: &UnitFacts) -> Vec<String> {
        let blocked = self.blocked.iter().map(|(id, reason)| self.deny(reason.clone(), Some(*id)).explain());
        let rules = self.rules.iter().map(|rule| match rule.verdict(facts) {
            None => format!("consent {}: does not apply", rule.id),
            Some((effect, at, certain)) => {
                let verb = if effect == Effect::Permit { "permits" } else { "denies" };
                let doubt = if certain == Truth::True { "" } else { " (not excluded)" };
                format!("consent {}: {} {verb}{doubt}", rule.id, rule.path(at))
            }
        });
        blocked.chain(rules).collect()
    }

    fn deny(&self, reason: Reason, consent: Option<ConsentId>) -> Decision {
        Decision::Deny(Denial { reason, consent, height: self.height })
    }
}

impl Rule {
    fn path(&self, at: usize) -> &str {
        self.policy.provisions.get(at).map_or("Consent", |p| &p.path)
    }

    fn verdict(&self, facts: &UnitFacts) -> Verdict {
        // An element that is not understood puts all of the consent in doubt: no permit, every denial that may apply.
        let start = Truth::True.doubted_if(!self.policy.unknown.is_empty());
        self.subtree(0, start, facts)
    }

    /// Whether the request alone leaves a permit at a provision or below it: one permits when all from the root down to it is true.
    fn may_permit(&self, at: usize) -> bool {
        let Some(provision) = self.policy.provisions.get(at) else { return false };
        self.fixed.get(at) == Some(&Truth::True)
            && (provision.effect == Effect::Permit || provision.children.iter().any(|child| self.may_permit(*child)))
    }

    /// `above` is how surely the parents match. A matching child overrides its parent; among siblings denial wins.
    fn subtree(&self, at: usize, above: Truth, facts: &UnitFacts) -> Verdict {
        let (provision, fixed) = (self.policy.provisions.get(at)?, *self.fixed.get(at)?);
        let mut holds = above.and(fixed);
        if holds == Truth::False {
            return None;
        }
        if !provision.modified {
            holds = holds.and(matching::unit(provision, facts));
        }
        if holds == Truth::False {
            return None;
        }
        let mut permit = None;
        for child in &provision.children {
            match self.subtree(*child, holds, facts) {
                Some(denial @ (Effect::Deny, ..)) => return Some(denial),
                found => permit = permit.or(found),
            }
        }
        permit.or(match (provision.effect, holds) {
            (Effect::Permit, Truth::Unknown) => None,
            (effect, certain) => Some((effect, at, certain)),
        })
    }
}
