//! The mapper: an input → its messages → their cases. Order of the steps, and nothing else.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bounds::{MAX_CASES_BYTES, MAX_MESSAGE_RESOURCES, MEMOS_MAX};
use crate::charset::Charset;
use crate::error::{MapError, TableError};
use crate::run::{Ground, Memo, Reading, Seen, build_case};
use crate::structure::{CaseSplit, Placed};
use crate::table::{EMBEDDED, MessageTable, Tables, doubts, link};
use crate::time::{Stamp, Zone};
use crate::token::{Message, RawMessage, split_messages};
use crate::{MapOptions, Mapped, MappedCase, SourceKey};

/// Compiled tables. Built once, shared by all.
pub struct Mapper {
    tables: Tables,
    /// Of a site's own tables.
    doubts: Vec<TableError>,
    has_site_tables: bool,
    /// What maps gave before, one for each input that is mapped at a time.
    memos: Mutex<Vec<Memo>>,
}

impl Mapper {
    /// The tables that come with Chartseal.
    ///
    /// # Panics
    /// Never in a released build: the test `embedded_tables_link` links them.
    pub fn embedded() -> Self {
        match Self::with_tables(&[]) {
            Ok(mapper) => mapper,
            Err(error) => panic!("an embedded table is broken: {error}"),
        }
    }

    /// The embedded tables with a site's own: a file of the same name (`segments/PID.map`, or `PID.map` where that is
    /// one file only) replaces one, another adds one.
    pub fn with_tables(overrides: &[(String, String)]) -> Result<Self, TableError> {
        let mut files: Vec<(&str, &str)> = EMBEDDED.to_vec();
        for (name, text) in overrides {
            let short = |file: &str| file.rsplit('/').next() == Some(name.as_str());
            let mut same = files.iter_mut().filter(|(file, _)| file == name || short(file));
            match (same.next(), same.next()) {
                (Some(found), None) => found.1 = text,
                (None, _) => files.push((name, text)),
                (Some(_), Some(_)) => {
                    let found = format!("`{name}`, which is the name of several tables");
                    return Err(TableError::new(name, 0, found, "a name with its folder, such as segments/PID.map"));
                }
            }
        }
        let tables = link(&files)?;
        let ours: HashSet<(&str, &str)> = EMBEDDED.iter().copied().collect();
        let site: HashSet<&str> = files.iter().filter(|file| !ours.contains(*file)).map(|(name, _)| *name).collect();
        let doubts = if site.is_empty() { Vec::new() } else { doubts(&link(EMBEDDED)?, &tables, &site) };
        Ok(Self { tables, doubts, has_site_tables: !site.is_empty(), memos: Mutex::default() })
    }

    /// What of a site's own tables is allowed and seldom meant: an element or a field that none of ours names.
    pub fn doubts(&self) -> &[TableError] {
        &self.doubts
    }

    /// Whether a site's own tables are among them: what ours make is known to be FHIR.
    pub const fn has_site_tables(&self) -> bool {
        self.has_site_tables
    }

    /// Whether there is a table for a message type (`ORU_R01`, `ADT_A04`).
    pub fn supports(&self, message_type: &str) -> bool {
        self.tables.by_event.contains_key(message_type)
    }

    /// All message types with a table.
    pub fn message_types(&self) -> Vec<String> {
        let mut all: Vec<String> = self.tables.by_event.keys().cloned().collect();
        all.sort();
        all
    }

    /// Maps one input: a message, several, or an FHS/BHS batch. Never panics; a message that cannot be mapped is in `errors`.
    pub fn map(&self, raw: &[u8], options: &MapOptions<'_>) -> Mapped {
        let mut mapped = Mapped::default();
        let messages = match split_messages(raw) {
            Ok(messages) => messages,
            Err(error) => {
                mapped.errors.push(error);
                return mapped;
            }
        };
        let mut seen = Seen::default();
        let mut memo = self.memos().pop().unwrap_or_default();
        for message in &messages {
            if let Err(error) = self.map_message(message, options, &mut mapped, &mut seen, &mut memo) {
                mapped.errors.push(error);
            }
            memo.forget_passing();
        }
        let mut memos = self.memos();
        if memos.len() < MEMOS_MAX {
            memos.push(memo);
        }
        drop(memos);
        mapped
    }

    fn memos(&self) -> MutexGuard<'_, Vec<Memo>> {
        self.memos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_message(
        &self,
        input: &RawMessage<'_>,
        options: &MapOptions<'_>,
        mapped: &mut Mapped,
        seen: &mut Seen,
        memo: &mut Memo,
    ) -> Result<(), MapError> {
        let message = Message::tokenize(input, default_charset(options)?)?;
        let message_type = message_type(&message)?;
        mapped.message_type.get_or_insert_with(|| message_type.clone());
        let Some(table) = self.tables.by_event.get(&message_type).and_then(|at| self.tables.messages.get(*at)) else {
            let text = "found a message type without a table, expected one of those of `schemas/mappings/messages`";
            return Err(MapError::new("unsupported-message", "MSH-9", field_offset(&message, 9), text));
        };
        let zone = zone(&message, options)?;
        let placed = Placed::new(table, &message);
        let key = key_of(&message);
        let source: [&str; 4] = [&key.sending_application, &key.sending_facility, &key.time, &key.control_id];
        let ground = Ground { tables: &self.tables, message: &message, placed: &placed, options, zone: &zone, source };
        let mut reading = Reading::of(&message);
        let manner = memo.begin(&message);
        let split = CaseSplit::new(table, &placed, &message)?;
        let mut cases = Vec::with_capacity(split.count);
        let (mut resources, mut bytes) = (0, 0);
        for case in 0..split.count {
            let built = build_case(ground, table, &split, case, &mut reading, (memo, manner), &mut mapped.explained)?;
            resources += built.bundle.list("entry").len();
            if resources > MAX_MESSAGE_RESOURCES {
                let text = format!("the message needs more than {MAX_MESSAGE_RESOURCES} resources");
                return Err(MapError::new("too-many-resources", "MSH", input.offset, text));
            }
            if split.count > 1 {
                bytes += built.bundle.canonical().len();
                if bytes > MAX_CASES_BYTES {
                    let text = format!("the message's cases are longer than {MAX_CASES_BYTES} bytes");
                    return Err(MapError::new("too-many-resources", "MSH", input.offset, text));
                }
            }
            cases.push(MappedCase {
                message_type: message_type.clone(),
                bundle: built.bundle,
                patients: built.patients,
                replaced: built.replaced,
                cleared: built.cleared,
                event_time: event_time(table, &message, &zone),
                source_key: key.clone(),
            });
        }
        mapped.cases.append(&mut cases);
        reading.unmapped(&message, &self.tables, seen, &mut mapped.unmapped);
        Ok(())
    }
}

/// Where each message of an input stands; none where that cannot be told. What a batch has around its messages (FHS, BHS and their
/// trailers) belongs to none: the same message is the same bytes, in a batch and alone.
pub fn message_ranges(raw: &[u8]) -> Vec<Range<usize>> {
    let messages = split_messages(raw).unwrap_or_default();
    let range = |message: &RawMessage<'_>| {
        let end = message.offset + message.bytes.len();
        // with the ends of its last line, as it has them alone
        let breaks = raw[end..].iter().take_while(|b| matches!(**b, b'\r' | b'\n')).count();
        message.offset..end + breaks
    };
    messages.iter().map(range).collect()
}

/// MSH-3, 4, 7, 10 of the first message of an input. Only MSH is looked at.
pub fn source_key(raw: &[u8]) -> Result<SourceKey, MapError> {
    let messages = split_messages(raw)?;
    let Some(first) = messages.first() else {
        return Err(MapError::new("no-msh", "MSH", 0, "found no message, expected a line that begins with MSH"));
    };
    let end = first.bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(first.bytes.len());
    let header = RawMessage { bytes: &first.bytes[..end], offset: first.offset };
    Ok(key_of(&Message::tokenize(&header, Charset::UTF8)?))
}

/// Whom the first message of an input is about: the identifier of PID-3, first repetition, else of PID-2; `None` where it names nobody.
/// Nothing else is looked at, so that a message in any character set gives the same answer.
pub fn patient_identifier(raw: &[u8]) -> Option<String> {
    let messages = split_messages(raw).ok()?;
    let bytes = messages.first()?.bytes;
    let field = *bytes.get(3)?;
    let breaks = |b: &u8| matches!(b, b'\r' | b'\n');
    let delimiters = bytes.split(|b| *b == field || breaks(b)).nth(1)?;
    let line = bytes.split(breaks).find(|line| line.starts_with(b"PID") && line.get(3) == Some(&field))?;
    let fields: Vec<&[u8]> = line.split(|b| *b == field).take(4).collect();
    let head = [&b"MSH"[..], &[field], delimiters, b"\r", &fields.join(&field)].concat();
    let message = Message::tokenize(&RawMessage { bytes: &head, offset: 0 }, Charset::UTF8).ok()?;
    let pid = message.segments.iter().position(|segment| segment.name == *b"PID")?;
    [3, 2].into_iter().find_map(|n| {
        let first = message.repetitions(message.field(pid, n)?).next()?;
        message.value(message.leaf(first)).map(Cow::into_owned)
    })
}

fn key_of(message: &Message<'_>) -> SourceKey {
    let text = |n| {
        let whole =
            message.field(0, n).and_then(|span| message.repetitions(span).next()).and_then(|p| message.whole(p));
        whole.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    SourceKey { sending_application: text(3), sending_facility: text(4), time: text(7), control_id: text(10) }
}

/// `ORU_R01` from MSH-9: code and trigger, or the structure where the trigger is missing, or the event that EVN-1 names, as messages
/// before v2.3 have it.
fn message_type(message: &Message<'_>) -> Result<String, MapError> {
    let refuse = |text: &str| Err(MapError::new("no-message-type", "MSH-9", field_offset(message, 9), text));
    let Some(piece) = message.field(0, 9).and_then(|span| message.repetitions(span).next()) else {
        return refuse("found nothing, expected a message type such as ORU^R01");
    };
    let part = |n| message.part(piece, n).and_then(|p| message.raw_value(message.leaf(p)));
    let name = match (part(1), part(2), part(3)) {
        (Some(code), Some(trigger), _) => format!("{code}_{trigger}"),
        (_, _, Some(structure)) => structure.to_owned(),
        (Some(code), None, None) => match event(message) {
            Some(trigger) => format!("{code}_{trigger}"),
            None => code.to_owned(),
        },
        _ => return refuse("found no message code, expected a message type such as ORU^R01"),
    };
    // the type is repeated to the caller: nothing but a name may stand there
    if name.len() > 16 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return refuse("found no message type, expected letters and digits such as ORU^R01");
    }
    Ok(name)
}

/// EVN-1.
fn event<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    let evn = message.segments.iter().position(|segment| segment.name == *b"EVN")?;
    let first = message.repetitions(message.field(evn, 1)?).next()?;
    message.raw_value(message.leaf(first))
}

fn field_offset(message: &Message<'_>, n: u16) -> usize {
    message.input_offset(message.field(0, n).map_or(0, |span| span.start as usize))
}

fn default_charset(options: &MapOptions<'_>) -> Result<Charset, MapError> {
    let Some(name) = options.default_charset else { return Ok(Charset::UTF8) };
    Charset::named(name).ok_or_else(|| {
        let text = "the site's default character set is unknown, expected one of HL7 table 0211 or a WHATWG label";
        MapError::new("unsupported-charset", "MSH-18", 0, text)
    })
}

/// MSH-7's offset, else the site's zone.
fn zone(message: &Message<'_>, options: &MapOptions<'_>) -> Result<Zone, MapError> {
    let stamp = message
        .field(0, 7)
        .and_then(|span| message.repetitions(span).next())
        .and_then(|piece| message.raw_value(message.leaf(piece)))
        .and_then(Stamp::read);
    if let Some(offset) = stamp.as_ref().and_then(Stamp::offset) {
        return Ok(Zone::Fixed(offset.to_owned()));
    }
    Zone::named(options.default_zone).ok_or_else(|| {
        let text = "the site's default zone is unknown, expected an offset such as +01:00 or an IANA name";
        MapError::new("bad-zone", "MSH-7", 0, text)
    })
}

/// The first of the table's times that is there, wherever its segment stands.
fn event_time(table: &MessageTable, message: &Message<'_>, zone: &Zone) -> Option<String> {
    table.times.iter().find_map(|(segment, field)| {
        let index = message.segments.iter().position(|s| s.name == *segment)?;
        let piece = message.repetitions(message.field(index, *field)?).next()?;
        Stamp::read(message.raw_value(message.leaf(piece))?).map(|stamp| stamp.earliest_instant(zone))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(_: &'static str, key: &[&str]) -> String {
        key.join("-").bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b) } else { '-' }).take(64).collect()
    }

    #[test]
    fn codes_are_remembered_and_patients_are_not() {
        let mapper = Mapper::embedded();
        let options = MapOptions { ids: &id, default_zone: "+00:00", default_charset: None, explain: false };
        let address = "7 Canary Lane^^Canarytown^CA^99999^USA^H";
        let phone = "^PRN^PH^^1^207^5550199^^canary";
        let raw = format!(
            "MSH|^~\\&|ADT|NORTH|GW|NORTH|20260302||ADT^A01|1|P|2.5.1\rEVN|A01|20260302\r\
             PID|1||CANARY7^^^NORTH&2.999.1&ISO^MR||Canary^Zoe^Q^^^^L||19700101|F|Canary^Old|2106-3^White^HL70005|{address}||{phone}||\
             eng^English^ISO639|M^Married^HL70002\rNK1|1|Canary^Ann^^^^^L|MTH^Mother^HL70063|{address}|{phone}\r\
             NK1|2|Canary^Bo^^^^^L|BRO^Brother^HL70063|{address}|{phone}\rPV1|1|I|||||||||||||||||CANARYV^^^NORTH^VN\r\
             GT1|1||Canary^Zoe^Q^^^^L||{address}|{phone}\r\
             OBX|1|CWE|x^y^L||^told Zoe Canary^L~1^^L^^^^^^Canary was told||||||F\rOBX|2|ST|x^y^L||Canary||||||F\r"
        );
        for _ in 0..4 {
            assert_eq!(mapper.map(raw.as_bytes(), &options).cases.len(), 1);
        }
        let memos = mapper.memos();
        let texts: Vec<&str> = memos.iter().flat_map(Memo::texts).collect();
        assert!(texts.contains(&"M^Married^HL70002"), "nothing is remembered: {texts:?}");
        let told: Vec<&&str> = texts.iter().filter(|text| text.to_ascii_lowercase().contains("canary")).collect();
        assert!(told.is_empty(), "found {told:?}, expected nothing about a patient");
    }
}
