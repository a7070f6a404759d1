//! What must hold for every policy. Policies are drawn as trees of small choices, written as FHIR, and judged a second
//! time by a naive evaluator that knows nothing of the engine: it tries every world in which the unknowns are settled.

use proptest::prelude::*;

use super::fixture::{UNITS, clinic, consent, decide, live, session, unit, unit_id};
use crate::{Decision, Document, Policy, Reason, UnitFacts};

/// How a criterion of a drawn provision stands to the fixture's request or unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Yes,
    No,
    Unsure,
}

/// A drawn provision.
#[derive(Clone, Debug)]
struct Node {
    permits: bool,
    criteria: Vec<(usize, Is)>,
    children: Vec<Node>,
}

/// FHIR of one criterion that stands to the clinic's request for "glucose" as told.
fn criterion(kind: usize, is: Is) -> &'static str {
    match (kind, is) {
        (0, Is::Yes) => {
            r#""purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}]"#
        }
        (0, Is::No) => {
            r#""purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"}]"#
        }
        (0, Is::Unsure) => r#""purpose": [{"code": "TREAT"}]"#,
        (1, Is::Yes) => r#""code": [{"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}]"#,
        (1, Is::No) => r#""code": [{"coding": [{"system": "http://loinc.org", "code": "1-8"}]}]"#,
        (1, Is::Unsure) => r#""code": [{"text": "glucose"}]"#,
        (2, Is::Yes) => r#""class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]"#,
        (2, Is::No) => r#""class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]"#,
        (2, Is::Unsure) => r#""class": [{"display": "observations"}]"#,
        (3, Is::Yes) => r#""dataPeriod": {"start": "2024", "end": "2024"}"#,
        (3, Is::No) => r#""dataPeriod": {"start": "2020", "end": "2020"}"#,
        (3, Is::Unsure) => r#""dataPeriod": {"end": "2024-03-01T07:00:00.500Z"}"#,
        (4, Is::Yes) => r#""period": {"start": "2024-06-15", "end": "2024-06-15"}"#,
        (4, _) => r#""period": {"end": "2024-06-14"}"#,
        (_, Is::Yes) => {
            r#""securityLabel": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}]"#
        }
        (_, Is::No) => r#""data": [{"meaning": "instance", "reference": {"reference": "Condition/hiv"}}]"#,
        (_, Is::Unsure) => {
            r#""securityLabel": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]"#
        }
    }
}

impl Node {
    fn fhir(&self) -> String {
        let mut members = vec![format!(r#""type": "{}""#, if self.permits { "permit" } else { "deny" })];
        members.extend(self.criteria.iter().map(|(kind, is)| criterion(*kind, *is).to_owned()));
        if !self.children.is_empty() {
            let children: Vec<String> = self.children.iter().map(Node::fhir).collect();
            members.push(format!(r#""provision": [{}]"#, children.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }

    fn document(&self) -> Document {
        Policy::parse(&consent("", &self.fhir())).into()
    }

    /// Whether it holds by its own criteria.
    fn holds(&self) -> Is {
        let settled = self.criteria.iter().map(|(kind, is)| if *kind == 4 && *is != Is::Yes { Is::No } else { *is });
        settled.fold(Is::Yes, |all, is| match (all, is) {
            (Is::No, _) | (_, Is::No) => Is::No,
            (Is::Yes, Is::Yes) => Is::Yes,
            _ => Is::Unsure,
        })
    }

    fn unsure(&self) -> u32 {
        u32::from(self.holds() == Is::Unsure) + self.children.iter().map(Node::unsure).sum::<u32>()
    }

    /// Two-valued: what it says in one world, whose bits settle the unsure provisions in their order.
    fn in_world(&self, world: &mut u32) -> Option<bool> {
        let holds = match self.holds() {
            Is::Yes => true,
            Is::No => false,
            Is::Unsure => {
                let bit = *world & 1 == 1;
                *world >>= 1;
                bit
            }
        };
        let said: Vec<Option<bool>> = self.children.iter().map(|child| child.in_world(world)).collect();
        match () {
            () if !holds => None,
            () if said.contains(&Some(false)) => Some(false),
            () if said.contains(&Some(true)) => Some(true),
            () => Some(self.permits),
        }
    }

    /// The node that the draw points at, depth first.
    fn pick(&mut self, at: usize) -> &mut Node {
        fn walk<'n>(node: &'n mut Node, at: &mut usize) -> Result<&'n mut Node, &'n mut Node> {
            if *at == 0 {
                return Ok(node);
            }
            *at -= 1;
            let child = (0..node.children.len()).find(|i| {
                let size = node.children[*i].size();
                let here = *at < size;
                if !here {
                    *at -= size;
                }
                here
            });
            match child {
                Some(i) => walk(&mut node.children[i], at),
                None => Err(node),
            }
        }
        let mut at = at % self.size();
        walk(self, &mut at).unwrap_or_else(|node| node)
    }

    fn size(&self) -> usize {
        1 + self.children.iter().map(Node::size).sum::<usize>()
    }
}

fn is() -> impl Strategy<Value = Is> {
    prop_oneof![3 => Just(Is::Yes), 1 => Just(Is::No), 1 => Just(Is::Unsure)]
}

fn leaf() -> impl Strategy<Value = Node> {
    let criteria = proptest::collection::btree_map(0_usize..6, is(), 0..3);
    (any::<bool>(), criteria).prop_map(|(permits, criteria)| Node {
        permits,
        criteria: criteria.into_iter().collect(),
        children: vec![],
    })
}

fn tree() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        (leaf(), proptest::collection::vec(inner, 0..3)).prop_map(|(node, children)| Node { children, ..node })
    })
}

fn trees() -> impl Strategy<Value = Vec<Node>> {
    proptest::collection::vec(tree(), 0..4)
}

fn decision(trees: &[Node]) -> Decision {
    decide_with(trees, &unit("glucose"))
}

fn decide_with(trees: &[Node], facts: &UnitFacts) -> Decision {
    let consents = trees.iter().zip(1..).map(|(t, n)| live(n, t.document())).collect();
    decide(&clinic(), consents, facts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A permit holds in every world; where nothing is unsure both evaluators agree on everything.
    #[test]
    fn agrees_with_every_world(trees in trees()) {
        let engine = decision(&trees);
        let unsure: u32 = trees.iter().map(Node::unsure).sum();
        prop_assume!(unsure <= 12);
        let permits_in = |mut world: u32| {
            let said: Vec<Option<bool>> = trees.iter().map(|t| t.in_world(&mut world)).collect();
            said.contains(&Some(true)) && !said.contains(&Some(false))
        };
        if engine.is_permit() {
            for world in 0..1 << unsure {
                prop_assert!(permits_in(world), "world {world:b}: {trees:?}");
            }
        }
        if unsure == 0 {
            prop_assert_eq!(engine.is_permit(), permits_in(0));
        }
    }

    /// What the request alone decides is decided before any unit is read.
    #[test]
    fn where_nothing_is_permitted_no_unit_is(trees in trees(), name in prop::sample::select(UNITS.to_vec())) {
        let consents = trees.iter().zip(1..).map(|(t, n)| live(n, t.document())).collect();
        let session = session(&clinic(), consents);
        prop_assert!(!session.permits_nothing() || !session.decide(unit_id(), &unit(name)).is_permit());
    }

    #[test]
    fn one_more_denial_never_permits_more(trees in trees(), which in any::<usize>(), at in any::<usize>(), added in leaf()) {
        prop_assume!(!trees.is_empty());
        let before = decision(&trees);
        let mut more = trees;
        let which = which % more.len();
        more[which].pick(at).children.push(Node { permits: false, ..added });
        prop_assert!(before.is_permit() || !decision(&more).is_permit());
    }

    #[test]
    fn one_more_denying_consent_never_permits_more(trees in trees(), added in leaf()) {
        let before = decision(&trees);
        let mut more = trees;
        more.push(Node { permits: false, ..added });
        prop_assert!(before.is_permit() || !decision(&more).is_permit());
    }

    #[test]
    fn a_missing_or_unusable_document_denies_everything(trees in trees(), which in any::<usize>(), missing in any::<bool>()) {
        prop_assume!(!trees.is_empty());
        let mut consents: Vec<_> = trees.iter().zip(1..).map(|(t, n)| live(n, t.document())).collect();
        let which = which % consents.len();
        let unusable = || Policy::parse(&consent("", r#"{"type": "maybe"}"#)).into();
        consents[which].document = if missing { Document::Missing } else { unusable() };
        prop_assert!(!decide(&clinic(), consents, &unit("glucose")).is_permit());
    }

    #[test]
    fn what_is_not_understood_never_permits_and_still_denies(tree in tree(), at in any::<usize>(), modifier in any::<bool>()) {
        let known = decision(std::slice::from_ref(&tree));
        let element = if modifier { r#""modifierExtension": [], "type": "# } else { r#""novel": 1, "type": "# };
        let text = tree.fhir();
        let places: Vec<usize> = text.match_indices(r#""type": "#).map(|(i, _)| i).collect();
        let place = places[at % places.len()];
        let strange = format!("{}{element}{}", &text[..place], &text[place + r#""type": "#.len()..]);
        let alone = Policy::parse(&consent("", &strange)).expect("parsable");
        prop_assert!(alone.not_understood().next().is_some());
        let strange: Document = Ok(alone).into();
        let all: Document = Policy::parse(&consent("", r#"{"type": "permit"}"#)).into();
        let glucose = unit("glucose");
        prop_assert!(!decide(&clinic(), vec![live(1, strange.clone())], &glucose).is_permit());
        if matches!(&known, Decision::Deny(d) if matches!(d.reason(), Reason::Provision { .. })) {
            prop_assert!(!decide(&clinic(), vec![live(1, all), live(2, strange)], &glucose).is_permit());
        }
    }

    #[test]
    fn knowing_less_never_permits_more(trees in trees(), lost in 0_u8..32) {
        let facts = unit("glucose");
        let mut less = facts.clone();
        if lost & 1 > 0 { less.date = None }
        if lost & 2 > 0 { less.labels.clear() }
        if lost & 4 > 0 { less.uncoded = true }
        if lost & 8 > 0 { less.incomplete = true }
        if lost & 16 > 0 { less.identity.clear() }
        prop_assert!(decide_with(&trees, &facts).is_permit() || !decide_with(&trees, &less).is_permit());
    }

    #[test]
    fn order_changes_nothing(trees in trees(), turn in 0_usize..4) {
        let before = decision(&trees).is_permit();
        let mut turned = trees;
        if !turned.is_empty() {
            let by = turn % turned.len();
            turned.rotate_left(by);
        }
        prop_assert_eq!(before, decision(&turned).is_permit());
    }

    /// Arbitrary JSON in place of a provision: an answer, never a panic, and never a permit that it does not spell out.
    #[test]
    fn any_text_is_survived(text in ".{0,64}", date in "[0-9T:Z.+-]{0,30}") {
        let _ = crate::Span::of_date(&text);
        let _ = crate::Span::of_date(&date);
        let _ = crate::Reference::parse(&text);
        if let Ok(value) = schemas::json::parse(text.as_bytes()) {
            prop_assert!(Policy::parse(&value).is_err());
            let _ = UnitFacts::of(&value);
        }
    }
}
