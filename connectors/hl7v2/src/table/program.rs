//! Tables in the form in which they run: names resolved to indices, constants to static text.

use schemas::json::Name;

use crate::hash::QuickMap;

/// Everything that was read from all tables.
#[derive(Default)]
pub struct Tables {
    /// `segments/PID.map`, … for explanations.
    pub files: Vec<String>,
    pub programs: Vec<Program>,
    pub vocabularies: Vec<Vocabulary>,
    pub messages: Vec<MessageTable>,
    /// `ADT_A01` → index into `messages`.
    pub by_event: QuickMap<String, usize>,
    pub resources: QuickMap<&'static str, ResourceTable>,
    /// Fields that steer the mapping and are therefore not reported as unmapped.
    pub steering: QuickMap<[u8; 3], Vec<u16>>,
}

/// A list of rows, run in order: a section of a segment, a datatype map, a block.
pub struct Program {
    pub file: u16,
    pub rows: Vec<Row>,
    /// Per row, what must be there for it to begin; found when all is linked. Apart from the rows, for most are passed by.
    pub gates: Vec<Gate>,
    /// The rows yield one value (`$`), not members of an object.
    pub scalar: bool,
    /// Constants only: it comes along with what surrounds it, but is no reason to keep that.
    pub constant: bool,
    /// What must be there for the rows to give anything.
    pub needs: Needs,
    /// Reads nothing but the piece it is run on: the same text gives the same result.
    pub local: bool,
    /// The same text is likely to be mapped again: a datatype's map, or a block that says `recurs`.
    pub remembered: bool,
    /// Members of the object it runs on that it may set or ask for; `None` where that cannot be told.
    pub touches: Option<Vec<&'static Name>>,
    /// What it reads is said again in other messages and about no patient in particular: codes, authorities, those who work there.
    pub recurs: Option<Recurs>,
}

/// Of which texts a map's result may outlive its message.
#[derive(Clone)]
pub enum Recurs {
    Always,
    /// `recurs if .1 and not .9`.
    If(Condition),
}

/// What the rows of a program read: when nothing of it is there, they need not run.
#[derive(Clone, Default)]
pub struct Needs {
    /// Cannot be told beforehand.
    pub unknown: bool,
    /// Components, as bits.
    pub parts: u64,
    pub fields: Vec<([u8; 3], u16)>,
}

/// One row: target ← source, how, on what condition.
pub struct Row {
    pub line: u32,
    /// Empty: the object itself (`$this`), or the value itself (`$`).
    pub target: Vec<Step>,
    /// A step of the target adds to a list: every repetition counts, and nothing is there before.
    pub many: bool,
    pub source: Source,
    /// Make a resource of this type and leave a reference to it.
    pub make: Option<&'static str>,
    pub action: Action,
    pub via: Via,
    pub condition: Option<Box<Condition>>,
}

impl Row {
    /// Whether its value may be read by the message's zone.
    pub fn reads_zone(&self) -> bool {
        matches!(self.action, Action::Primitive(Primitive::DateTime | Primitive::Instant))
    }
}

/// What a row needs, told without looking at its source.
#[derive(Default)]
pub enum Gate {
    /// Run it and see.
    #[default]
    Open,
    /// One of these components, as bits.
    Parts(u64),
    /// A field.
    Field([u8; 3], u16),
    /// What a block needs, unless constants count.
    Block(Box<Needs>),
}

/// One member on the way to the target.
pub struct Step {
    pub name: &'static Name,
    /// `name[]`: a new element of a list.
    pub append: bool,
    /// `ext(url)`: a new extension with this url.
    pub extension: Option<&'static str>,
}

/// Where a value comes from.
#[derive(Clone)]
pub enum Source {
    /// A block without a source: where we are.
    Here,
    /// `.`, `.2`, `.2.1`: relative to where we are.
    Part(Path),
    /// `PID-5`, `PID-5.1`.
    Field { segment: [u8; 3], field: u16, path: Path },
    /// `"text"`.
    Constant(&'static str),
    /// `"urn:oid:" + .2`.
    Joined(Vec<Source>),
    /// `@Patient`: a reference to a resource in reach.
    Resource(&'static str),
}

/// Component and subcomponent; 0 is the whole.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Path {
    pub component: u8,
    pub subcomponent: u8,
}

/// What becomes of the piece that was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A FHIR primitive.
    Primitive(Primitive),
    /// A map or block, by index of its program.
    Run(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Primitive {
    String,
    /// The whole piece, delimiters included.
    Text,
    Code,
    /// An absolute URI; a bare OID or UUID gets its prefix.
    Uri,
    Oid,
    Uuid,
    Date,
    DateTime,
    Instant,
    Time,
    Decimal,
    /// The comparator in front of a number (`<5`), if there is one.
    Comparator,
    Integer,
    PositiveInt,
    UnsignedInt,
    Boolean,
    Base64,
    /// Text that is to become base64.
    EncodeBase64,
    /// Hex digits that are to become base64.
    HexBase64,
}

/// Which vocabulary translates the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Via {
    None,
    Table(usize),
    /// The one that the row outside named.
    Caller,
    /// The system of the translation, when it leaves the code as it is.
    CallerSystem,
    /// The translation as code, system and display, when it changes the code.
    CallerChanged,
}

#[derive(Clone)]
pub enum Condition {
    Valued(Source),
    Equals(Source, Vec<&'static str>),
    StartsWith(Source, Vec<&'static str>),
    MoreThan(Source, usize),
    Longer(Source, usize),
    Number(Source),
    /// The object that is being built has this member.
    Has(&'static Name),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// A vocabulary map.
#[derive(Default)]
pub struct Vocabulary {
    /// Default system of the targets.
    pub system: Option<&'static str>,
    pub codes: QuickMap<&'static str, Target>,
    /// `HL7*`: prefix and what the rest is put behind.
    pub patterns: Vec<(&'static str, &'static str)>,
    /// `else code`.
    pub otherwise: Option<Target>,
}

/// A translation.
#[derive(Clone, Copy)]
pub struct Target {
    pub code: &'static str,
    pub system: Option<&'static str>,
    pub display: Option<&'static str>,
}

/// The structure of a message: groups, segments, what they make, and how it hangs together.
pub struct MessageTable {
    /// Where the time of the event stands, best first.
    pub times: Vec<([u8; 3], u16)>,
    /// Group 0 is the message.
    pub groups: Vec<Group>,
}

#[derive(Default)]
pub struct Group {
    pub parent: Option<usize>,
    pub repeats: bool,
    /// Each distinct value of this field in an instance makes a case of its own.
    pub case_by: Option<([u8; 3], u16)>,
    pub items: Vec<Item>,
    pub links: Vec<Link>,
}

pub enum Item {
    Segment(SegmentItem),
    Group(usize),
}

pub struct SegmentItem {
    pub name: [u8; 3],
    pub repeats: bool,
    /// Resources to fill, in order.
    pub targets: Vec<Filling>,
}

/// What a segment does for one resource type.
pub struct Filling {
    pub resource: &'static str,
    /// Create it when the own frame has none; otherwise only fill one in reach.
    pub makes: bool,
    pub program: usize,
    /// Only when one of these segments is (`true`) or none of them is (`false`) in the same group.
    pub only_with: Option<(Vec<[u8; 3]>, bool)>,
}

/// `A.path <- B`: references between resources, laid when all are built.
pub struct Link {
    pub from: &'static str,
    pub target: Vec<Step>,
    pub to: &'static str,
    /// Where it stands, for explanations.
    pub file: u16,
    pub line: u32,
}

/// Identity and required elements of a resource type.
#[derive(Default)]
pub struct ResourceTable {
    /// Alternatives, each a list of fields; the first whose every field is valued is taken.
    pub keys: Vec<Vec<([u8; 3], u16, Path)>>,
    /// Rows that run last and fill what is required.
    pub defaults: Option<usize>,
}
