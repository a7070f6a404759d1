//! Who a resource is about: the references among the resources of one message, the patients they name, and the cases that
//! follow. A resource of a patient goes to that patient's case; one that several share is copied to each; what nobody
//! refers to and that names nobody is the institution's. Pure; it never changes a resource.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::cbor::sha256;
use schemas::json::Value;
use schemas::limits;

use super::fhir::{self, is_id};
use super::patients::identifier;
use super::{CanonicalUnit, Identity, Ids, Meaning, Normaliser, PatientKey, PatientKeys, Patients, UNITS_MAX};

/// Elements that say whom a resource is about (R4).
const ABOUT: [&str; 6] = ["subject", "patient", "beneficiary", "individual", "for", "candidate"];
/// Type, element, element inside it (empty: itself): the same where a list stands between.
const ABOUT_IN_LIST: [(&str, &str, &str); 6] = [
    ("Appointment", "participant", "actor"),
    ("AuditEvent", "entity", "what"),
    ("Person", "link", "target"),
    ("AppointmentResponse", "actor", ""),
    ("Provenance", "target", ""),
    ("Schedule", "actor", ""),
];

/// One resource of the message.
pub struct Node {
    pub resource: Value,
    pub bytes: Vec<u8>,
    pub resource_type: String,
    pub id: Option<String>,
    pub full_url: Option<String>,
    pub updated: Option<i64>,
}

pub struct Graph<'a> {
    source: &'a str,
    ids: Ids<'a>,
    nodes: Vec<Node>,
    /// Full URL, its tail and `Type/id` → node; none where several claim it.
    known: HashMap<String, Option<usize>>,
    patients: Patients,
    /// Patient of each Patient node.
    patient_of: BTreeMap<usize, usize>,
    /// References of each node: as sent, and what they mean.
    references: Vec<Vec<(String, Meaning)>>,
    /// Nodes that each node refers to.
    edges: Vec<BTreeSet<usize>>,
}

impl<'a> Graph<'a> {
    pub fn new(with: &Normaliser, source: &'a str, ids: Ids<'a>, nodes: Vec<Node>) -> Self {
        let mut known: HashMap<String, Option<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            let own = node.id.as_ref().map(|id| format!("{}/{id}", node.resource_type));
            let tail = node.full_url.as_deref().and_then(tail).filter(|tail| Some(*tail) != own.as_deref());
            for name in [node.full_url.clone(), tail.map(str::to_owned), own].into_iter().flatten() {
                known.entry(name).and_modify(|of| *of = of.filter(|of| *of == at)).or_insert(Some(at));
            }
        }
        let edges = vec![BTreeSet::new(); nodes.len()];
        let (patients, patient_of, references) = (Patients::default(), BTreeMap::new(), Vec::new());
        let mut graph = Self { source, ids, nodes, known, patients, patient_of, references, edges };
        for (at, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.resource_type == "Patient") {
            graph.patient_of.insert(at, graph.patients.add(patient_keys(with, node, source)));
        }
        for at in 0..graph.nodes.len() {
            let mut sent = BTreeSet::new();
            collect(&graph.nodes[at].resource, &mut sent);
            let mut meant = Vec::new();
            for text in sent {
                let to = graph.node_of(&text);
                graph.edges[at].extend(to);
                if let Some(meaning) = graph.meaning(&text) {
                    meant.push((text, meaning));
                }
            }
            graph.references.push(meant);
        }
        graph
    }

    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    pub fn into_patients(self) -> Vec<PatientKeys> {
        self.patients.list
    }

    pub fn unit(&self, at: usize) -> CanonicalUnit {
        let node = &self.nodes[at];
        let identity = match self.patient_of.get(&at) {
            Some(patient) => Identity::Patient(*patient),
            None => Identity::Logical(fhir::logical_id(node, self.source, self.ids)),
        };
        fhir::unit(node, identity, self.references[at].clone())
    }

    /// For each node the patients whose case it belongs to. None: the copies would be more or larger than is taken; said
    /// before any is made.
    pub fn owners(&mut self) -> Option<Vec<BTreeSet<usize>>> {
        let mut owners: Vec<BTreeSet<usize>> = (0..self.nodes.len()).map(|at| self.about(at)).collect();
        let named: Vec<bool> = owners.iter().map(|set| !set.is_empty()).collect();
        // what a patient's resources refer to comes along, as far as the references go
        let mut queue: Vec<(usize, usize)> = Vec::new();
        for (at, of) in owners.iter().enumerate() {
            queue.extend(of.iter().map(|patient| (at, *patient)));
        }
        let (mut units, mut copied) = (queue.len(), 0);
        while let Some((at, patient)) = queue.pop() {
            for to in self.edges[at].iter().copied().filter(|to| !named[*to] && *to != at) {
                if owners[to].insert(patient) {
                    queue.push((to, patient));
                    units += 1;
                    copied += self.nodes[to].bytes.len();
                }
            }
            if units > UNITS_MAX || copied > limits::MESSAGE_BYTES_MAX {
                return None;
            }
        }
        // what only refers to a patient's resources (Provenance, MessageHeader) goes where they go
        for at in 0..self.nodes.len() {
            if owners[at].is_empty() {
                let targets = self.edges[at].iter().filter(|to| named[**to]);
                owners[at] = targets.flat_map(|to| owners[*to].iter().copied()).collect();
                units += owners[at].len();
            }
            copied += self.nodes[at].bytes.len() * owners[at].len().saturating_sub(1);
            if units > UNITS_MAX || copied > 2 * limits::MESSAGE_BYTES_MAX {
                return None;
            }
        }
        (self.patients.list.len() <= UNITS_MAX).then_some(owners)
    }

    /// Cases in order of patient; what is nobody's joins a single patient's case, else it is the institution's.
    pub fn cases(&self, owners: &[BTreeSet<usize>]) -> Vec<(Option<usize>, Vec<usize>)> {
        let patients: BTreeSet<usize> = owners.iter().flatten().copied().collect();
        let only = patients.first().copied().filter(|_| patients.len() == 1);
        let mut cases: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (at, of) in owners.iter().enumerate() {
            if of.is_empty() {
                cases.entry(only).or_default().push(at);
            }
            of.iter().for_each(|patient| cases.entry(Some(*patient)).or_default().push(at));
        }
        cases.into_iter().collect()
    }

    fn about(&mut self, at: usize) -> BTreeSet<usize> {
        if let Some(patient) = self.patient_of.get(&at) {
            return BTreeSet::from([*patient]);
        }
        let resource = &self.nodes[at].resource;
        let in_lists = ABOUT_IN_LIST.iter().filter(|(of, ..)| *of == self.nodes[at].resource_type);
        let named =
            ABOUT.iter().map(|element| (*element, "")).chain(in_lists.map(|(_, list, inside)| (*list, *inside)));
        let named = named.flat_map(|(element, inside)| {
            let items: &[Value] = match resource.get(element) {
                Some(Value::Array(items)) => items,
                Some(single) => std::slice::from_ref(single),
                None => &[],
            };
            items.iter().filter_map(move |item| if inside.is_empty() { Some(item) } else { item.get(inside) })
        });
        let named: Vec<Value> = named.cloned().collect();
        // by id, since the references may be many and the resources inside too; of equal ids the first counts
        let mut contained: HashMap<String, Value> = HashMap::new();
        for inside in resource.list("contained") {
            if let Some(id) = inside.text("id") {
                contained.entry(id.to_owned()).or_insert_with(|| inside.clone());
            }
        }
        named.iter().filter_map(|value| self.patient_named(value, &contained)).collect()
    }

    /// The patient that a Reference names: by address, contained, or by identifier alone.
    fn patient_named(&mut self, reference: &Value, contained: &HashMap<String, Value>) -> Option<usize> {
        let Some(text) = reference.text("reference") else {
            let (system, value) = identifier(reference.get("identifier")?)?;
            let is_patient = reference.text("type").is_none_or(|t| t == "Patient");
            let key = PatientKey::identifier(system, value, false);
            return is_patient.then(|| self.patients.add(PatientKeys(vec![key])));
        };
        if let Some(id) = text.strip_prefix('#') {
            let inside = contained.get(id)?;
            // said in passing: it finds a patient, and ties nothing to one
            let keys = inside.list("identifier").iter().filter_map(identifier);
            let keys: Vec<_> = keys.map(|(system, value)| PatientKey::identifier(system, value, false)).collect();
            let is_patient = inside.resource_type() == Some("Patient") && !keys.is_empty();
            return is_patient.then(|| self.patients.add(PatientKeys(keys)));
        }
        match self.meaning(text)? {
            Meaning::Patient(at) => Some(at),
            Meaning::Resource(..) => None,
        }
    }

    fn node_of(&self, text: &str) -> Option<usize> {
        self.known.get(bare(text)).copied().flatten()
    }

    /// What a reference means here; none when it is kept as it was sent.
    fn meaning(&mut self, text: &str) -> Option<Meaning> {
        if text.starts_with('#') {
            return None;
        }
        if let Some(at) = self.node_of(text) {
            let node = &self.nodes[at];
            let logical =
                || Meaning::Resource(node.resource_type.clone(), fhir::logical_id(node, self.source, self.ids));
            return Some(self.patient_of.get(&at).map_or_else(logical, |patient| Meaning::Patient(*patient)));
        }
        let text = bare(text);
        let key = match relative(text) {
            Some(("Patient", id)) => PatientKey::of_source(self.source, id),
            Some((resource_type, id)) => {
                return Some(Meaning::Resource(
                    resource_type.to_owned(),
                    (self.ids)(resource_type, &[self.source, id]),
                ));
            }
            None => match text.strip_prefix("Patient?identifier=").and_then(|token| token.split_once('|')) {
                Some((system, value)) => PatientKey::identifier(system, value, false),
                None if tail(text).is_some_and(|tail| tail.starts_with("Patient/")) => {
                    PatientKey::url(self.source, text)
                }
                None => return None,
            },
        };
        Some(Meaning::Patient(self.patients.add(PatientKeys(vec![key]))))
    }
}

fn patient_keys(with: &Normaliser, node: &Node, source: &str) -> PatientKeys {
    let identifiers = node.resource.list("identifier").iter().filter_map(identifier);
    let vouched = |(system, value): (String, String)| {
        let vouched = with.vouches(source, &system);
        PatientKey::identifier(system, value, vouched)
    };
    let mut keys: Vec<_> = identifiers.map(vouched).collect();
    keys.extend(node.id.iter().map(|id| PatientKey::of_source(source, id)));
    let url = node.full_url.iter().filter(|url| url.starts_with("http"));
    keys.extend(url.map(|url| PatientKey::url(source, url)));
    if keys.is_empty() {
        let content = node.full_url.clone().unwrap_or_else(|| sha256(&node.bytes).to_string());
        keys.push(PatientKey::of_source(source, content));
    }
    PatientKeys(keys)
}

/// Without version and history.
fn bare(text: &str) -> &str {
    let text = text.split("/_history/").next().unwrap_or(text);
    if text.contains('?') { text } else { text.split('|').next().unwrap_or(text) }
}

fn relative(text: &str) -> Option<(&str, &str)> {
    let (resource_type, id) = text.split_once('/')?;
    let is_type = resource_type.starts_with(|c: char| c.is_ascii_uppercase())
        && resource_type.bytes().all(|b| b.is_ascii_alphabetic());
    (is_type && is_id(id)).then_some((resource_type, id))
}

/// `Type/id` at the end of an absolute address.
fn tail(url: &str) -> Option<&str> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return None;
    }
    let (rest, _) = url.rsplit_once('/')?;
    let at = rest.rfind('/')? + 1;
    relative(&url[at..]).map(|_| &url[at..])
}

/// Every reference of a resource as it was sent, contained resources included, each once.
pub fn references_of(resource: &Value) -> BTreeSet<String> {
    let mut sent = BTreeSet::new();
    collect(resource, &mut sent);
    sent
}

/// Every `reference` of a resource, contained ones included.
fn collect(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, member) in object.iter() {
                match member {
                    Value::String(text) if name == "reference" => {
                        out.insert(text.to_string());
                    }
                    other => collect(other, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        _ => {}
    }
}
