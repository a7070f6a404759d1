//! HL7 v2 input: the tables make a Bundle per patient; its entries become units. One message that is refused refuses the
//! whole delivery: half a batch would be neither here nor there, and the raw bytes stay in quarantine.

use connectors_hl7v2::{MappedCase, PatientIdentifier, SourceKey};
use schemas::json::Value;

use super::fhir::is_id;
use super::{
    Canonical, CanonicalCase, CanonicalUnit, Identity, Ids, Meaning, Merged, Normaliser, Partial, PatientKey,
    PatientKeys, Patients, Refusal, instant_ms,
};

/// Extension of a message's Provenance: the path of a populated field that reached no resource.
const UNMAPPED: &str = "urn:chartseal:hl7v2-unmapped";
/// Most paths that are told there.
const UNMAPPED_TOLD_MAX: usize = 200;

pub fn normalise(with: &Normaliser, source: &str, body: &[u8], ids: Ids<'_>) -> Result<Canonical, Refusal> {
    let ids = |kind: &'static str, key: &[&str]| ids(kind, key);
    let options = with.options(source, &ids, false);
    let body = unframed(body);
    let mapped = with.mapper.map(body, &options);
    if let Some(error) = mapped.errors.first() {
        return Err(Refusal::caller(error.code, error.path.clone()));
    }
    let mut patients = Patients::default();
    let mut cases: Vec<CanonicalCase> = Vec::new();
    let mut merges: Vec<Merged> = Vec::new();
    let mut before: Option<(SourceKey, usize)> = None;
    for case in mapped.cases {
        let facility = &*case.source_key.sending_facility;
        let keys = keys_of(with, source, facility, &case.patients);
        let patient = (!keys.0.is_empty()).then(|| patients.add(keys));
        let mut named: Vec<(String, usize)> = Vec::new();
        for (reference, identifiers) in &case.replaced {
            let keys = keys_of(with, source, facility, identifiers);
            if let Some(surviving) = patient.filter(|_| !keys.0.is_empty()) {
                let prior = patients.add(keys);
                named.push((reference.clone(), prior));
                merges.push(Merged { prior, surviving, undone: false });
            }
        }
        // two patients of one message, each with a case of its own: linked, or no more
        let linked = matches!(case.message_type.as_str(), "ADT_A24" | "ADT_A37");
        if let (true, Some(prior), Some((key, surviving))) = (linked, patient, &before)
            && *key == case.source_key
        {
            merges.push(Merged { prior, surviving: *surviving, undone: case.message_type == "ADT_A37" });
        }
        before = patient.map(|patient| (case.source_key.clone(), patient));
        let event_time = case.event_time.as_deref().and_then(instant_ms);
        let mut case = case;
        tell_unmapped(&mut case.bundle, &mapped.unmapped);
        let units = units(case, patient, &named)?;
        if with.mapper.has_site_tables() {
            are_fhir(&units)?;
        }
        match cases.iter_mut().find(|other| other.patient == patient) {
            // two messages of one batch about one patient are one case of this delivery
            Some(other) => {
                other.units.extend(units);
                other.event_time = other.event_time.max(event_time);
            }
            None => cases.push(CanonicalCase { patient, units, event_time }),
        }
    }
    // one person already: nothing is said
    merges.retain(|merged| merged.prior != merged.surviving);
    let message_type = mapped.message_type.unwrap_or_else(|| "HL7".into());
    Ok(Canonical { message_type, patients: patients.list, merges, cases, unmapped: mapped.unmapped })
}

/// What a site's own tables made: an element of another kind than FHIR's would be sealed for good and read by nobody.
fn are_fhir(units: &[CanonicalUnit]) -> Result<(), Refusal> {
    for unit in units {
        schemas_fhir::check(&unit.resource_type, &unit.bytes).map_err(|problem| {
            let path = format!("{}.{}", unit.resource_type, problem.path);
            Refusal::caller("bad-mapping", path.trim_end_matches('.'))
        })?;
    }
    Ok(())
}

/// Writes on the message's Provenance which populated fields reached no resource, by path, so that readers of the case know what the
/// raw message has beyond it.
fn tell_unmapped(bundle: &mut Value, unmapped: &[String]) {
    if unmapped.is_empty() {
        return;
    }
    let Some(Value::Array(entries)) = bundle.as_object_mut().and_then(|bundle| bundle.get_mut("entry")) else { return };
    let mut resources = entries.iter_mut().filter_map(|entry| entry.as_object_mut()?.get_mut("resource"));
    let provenance = resources.find(|resource| resource.resource_type() == Some("Provenance"));
    let Some(provenance) = provenance.and_then(Value::as_object_mut) else { return };
    let of_path =
        |path: &String| Value::object([("url", Value::from(UNMAPPED)), ("valueString", Value::from(path.clone()))]);
    let told = unmapped.iter().take(UNMAPPED_TOLD_MAX).map(of_path);
    match provenance.get_mut("extension") {
        Some(Value::Array(extensions)) => extensions.extend(told),
        _ => drop(provenance.insert("extension", Value::Array(told.collect()))),
    }
}

/// Without the block characters that some senders leave around a message.
fn unframed(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix(&[0x0b]).unwrap_or(body);
    body.strip_suffix(&[0x1c, 0x0d]).or_else(|| body.strip_suffix(&[0x1c])).unwrap_or(body)
}

/// How a patient is known: a FHIR system and a value. An authority that is a name alone means something at its sender only, for two
/// hospitals call theirs `MRN`: it is that of the sending facility (MSH-4), or of the connector where there is none, unless the
/// configuration says which system it is; `MRN@NORTH` is its name then.
fn keys_of(with: &Normaliser, source: &str, facility: &str, identifiers: &[PatientIdentifier]) -> PatientKeys {
    let own = with.sources.get(source).map(|defaults| &defaults.authorities);
    let configured =
        |authority: &str| own.and_then(|own| own.get(authority)).or_else(|| with.authorities.get(authority));
    let named = identifiers.iter().filter(|identifier| !identifier.value.trim().is_empty());
    let keys = named.map(|PatientIdentifier { authority, is_system, value, .. }| {
        let value = value.trim();
        let system = match configured(authority) {
            Some(system) => system.clone(),
            None if *is_system => authority.clone(),
            None if authority.is_empty() && facility.is_empty() => return PatientKey::of_source(source, value),
            None if facility.is_empty() => format!("{authority}@{source}"),
            None => format!("{authority}@{facility}"),
        };
        PatientKey::identifier(system, value, true)
    });
    PatientKeys(keys.collect())
}

/// Whether an event moves a visit on or back: an admission, a transfer, a discharge, a cancellation of one of them.
fn is_move(message_type: &str) -> bool {
    const MOVES: [&str; 13] =
        ["A01", "A02", "A03", "A04", "A05", "A06", "A07", "A11", "A12", "A13", "A14", "A27", "A38"];
    message_type.strip_prefix("ADT_").is_some_and(|event| MOVES.contains(&event))
}

fn units(
    case: MappedCase,
    patient: Option<usize>,
    replaced: &[(String, usize)],
) -> Result<Vec<CanonicalUnit>, Refusal> {
    let (mut bundle, cleared) = (case.bundle, case.cleared);
    let entries = match bundle.as_object_mut().and_then(|object| object.remove("entry")) {
        Some(Value::Array(entries)) => entries,
        _ => return Err(Refusal::caller("nothing-mapped", "MSH-9")),
    };
    let mut resources: Vec<Value> = Vec::with_capacity(entries.len());
    for mut entry in entries {
        resources.extend(entry.as_object_mut().and_then(|members| members.remove("resource")));
    }
    let of_patient = |resource: &Value| match (resource.resource_type(), resource.text("id")) {
        (Some("Patient"), Some(id)) => Some(format!("Patient/{id}")),
        _ => None,
    };
    // the first Patient is the one that the case is about
    let about = patient.and_then(|at| Some((resources.iter().find_map(of_patient)?, at)));
    let mut units = Vec::with_capacity(resources.len());
    for resource in resources {
        let Some(resource_type) = resource.resource_type().map(str::to_owned) else {
            return Err(Refusal::caller("no-resource-type", "MSH-9"));
        };
        let Some(id) = resource.text("id").filter(|id| is_id(id)).map(str::to_owned) else {
            return Err(Refusal::caller("bad-id", resource_type));
        };
        let own = format!("{resource_type}/{id}");
        let identity = match &about {
            Some((reference, at)) if *reference == own => Identity::Patient(*at),
            // what a merge says of the other one is this case's word about it, not a version of the other's Patient
            _ => Identity::Logical(id),
        };
        let references =
            about.iter().chain(replaced).map(|(reference, at)| (reference.clone(), Meaning::Patient(*at))).collect();
        let bytes = resource.canonical();
        let partial = match (&identity, resource_type.as_str()) {
            (Identity::Patient(_), _) | (Identity::Logical(_), "Encounter") => Some(Partial {
                cleared: cleared.iter().filter(|cleared| cleared.resource == own).cloned().collect(),
                moves: is_move(&case.message_type),
            }),
            _ => None,
        };
        units.push(CanonicalUnit { resource, bytes, resource_type, identity, references, partial });
    }
    Ok(units)
}
