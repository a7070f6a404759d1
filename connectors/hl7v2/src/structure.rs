//! Places segments in the groups of a message table. Lenient: order inside a group does not matter, what is optional may
//! be missing. A segment that has no place, or comes twice where it may come once, is left unplaced and so unmapped.

use crate::bounds::MAX_CASES;
use crate::error::MapError;
use crate::table::{Item, MessageTable, SegmentItem};
use crate::token::Message;

/// One instance of a group, or of a repeated segment, which stands for itself.
pub struct Frame {
    /// `None` for a repeated segment.
    pub group: Option<usize>,
    pub parent: Option<usize>,
    /// Frames below this one are `self + 1 .. end`.
    pub end: usize,
    /// Segments that stand directly here.
    pub segments: Vec<usize>,
    used: u128,
}

/// Where each segment stands.
pub struct Placed<'t> {
    pub frames: Vec<Frame>,
    /// Per segment of the message: its frame and what the table says about it.
    pub segments: Vec<Option<(usize, &'t SegmentItem)>>,
}

impl<'t> Placed<'t> {
    /// Places every segment of a message.
    pub fn new(table: &'t MessageTable, message: &Message<'_>) -> Self {
        let root = Frame { group: Some(0), parent: None, end: 0, segments: Vec::new(), used: 0 };
        let mut placed = Self { frames: vec![root], segments: Vec::with_capacity(message.segments.len()) };
        let mut stack = vec![0];
        for (index, segment) in message.segments.iter().enumerate() {
            let place = placed.place(table, &mut stack, segment.name, index);
            placed.segments.push(place);
        }
        for at in (0..placed.frames.len()).rev() {
            let end = placed.frames[at].end.max(at + 1);
            placed.frames[at].end = end;
            if let Some(parent) = placed.frames[at].parent {
                placed.frames[parent].end = placed.frames[parent].end.max(end);
            }
        }
        placed
    }

    /// From the innermost open group outwards: the group's own segment, or a group below that holds one.
    fn place(
        &mut self,
        table: &'t MessageTable,
        stack: &mut Vec<usize>,
        name: [u8; 3],
        index: usize,
    ) -> Option<(usize, &'t SegmentItem)> {
        for depth in (0..stack.len()).rev() {
            let frame = stack[depth];
            if let Some(found) = self.direct(table, frame, name, index) {
                stack.truncate(depth + 1);
                return Some(found);
            }
            if let Some(child) = self.child(table, frame, name) {
                stack.truncate(depth + 1);
                let mut inner = child;
                loop {
                    stack.push(inner);
                    if let Some(found) = self.direct(table, inner, name, index) {
                        return Some(found);
                    }
                    inner = self.child(table, inner, name)?;
                }
            }
        }
        None
    }

    /// A segment of the group itself, when there is room for it.
    fn direct(
        &mut self,
        table: &'t MessageTable,
        frame: usize,
        name: [u8; 3],
        index: usize,
    ) -> Option<(usize, &'t SegmentItem)> {
        let group = &table.groups[self.frames[frame].group?];
        let (at, item) = group.items.iter().enumerate().find_map(|(at, item)| match item {
            Item::Segment(segment) if segment.name == name => Some((at, segment)),
            _ => None,
        })?;
        if item.repeats {
            let own = Frame { group: None, parent: Some(frame), end: 0, segments: vec![index], used: 0 };
            self.frames.push(own);
            return Some((self.frames.len() - 1, item));
        }
        let bit = 1u128.checked_shl(at as u32).unwrap_or(0);
        if self.frames[frame].used & bit != 0 {
            return None;
        }
        self.frames[frame].used |= bit;
        self.frames[frame].segments.push(index);
        Some((frame, item))
    }

    /// Opens an instance of a group below that can hold the segment: one that begins with it, else one that contains it.
    fn child(&mut self, table: &'t MessageTable, frame: usize, name: [u8; 3]) -> Option<usize> {
        let group = &table.groups[self.frames[frame].group?];
        let free = |at: usize, child: usize| {
            let bit = 1u128.checked_shl(at as u32).unwrap_or(0);
            (table.groups[child].repeats || self.frames[frame].used & bit == 0).then_some((at, child))
        };
        let groups = || {
            group.items.iter().enumerate().filter_map(|(at, item)| match item {
                Item::Group(child) => free(at, *child),
                Item::Segment(_) => None,
            })
        };
        let (at, child) = groups()
            .find(|(_, child)| begins(table, *child, name))
            .or_else(|| groups().find(|(_, child)| contains(table, *child, name)))?;
        self.frames[frame].used |= 1u128.checked_shl(at as u32).unwrap_or(0);
        self.frames.push(Frame { group: Some(child), parent: Some(frame), end: 0, segments: Vec::new(), used: 0 });
        Some(self.frames.len() - 1)
    }

    /// The nearest segment of this name: in the frame, then outwards.
    pub fn nearest(&self, message: &Message<'_>, mut frame: usize, name: [u8; 3]) -> Option<usize> {
        loop {
            let here = self.frames.get(frame)?;
            let hit = here.segments.iter().find(|s| message.segments.get(**s).is_some_and(|s| s.name == name));
            if hit.is_some() {
                return hit.copied();
            }
            frame = here.parent?;
        }
    }

    /// Whether a segment of this name stands in the frame or below it.
    pub fn below(&self, message: &Message<'_>, frame: usize, name: [u8; 3]) -> bool {
        let end = self.frames.get(frame).map_or(frame, |f| f.end);
        self.frames[frame..end]
            .iter()
            .flat_map(|f| &f.segments)
            .any(|s| message.segments.get(*s).is_some_and(|s| s.name == name))
    }
}

fn begins(table: &MessageTable, group: usize, name: [u8; 3]) -> bool {
    match table.groups[group].items.first() {
        Some(Item::Segment(segment)) => segment.name == name,
        Some(Item::Group(child)) => begins(table, *child, name),
        None => false,
    }
}

fn contains(table: &MessageTable, group: usize, name: [u8; 3]) -> bool {
    table.groups[group].items.iter().any(|item| match item {
        Item::Segment(segment) => segment.name == name,
        Item::Group(child) => contains(table, *child, name),
    })
}

/// Which case of the message each frame belongs to; `None`: to all of them.
pub struct CaseSplit {
    pub count: usize,
    of_frame: Vec<Option<u32>>,
}

impl CaseSplit {
    /// Groups with the same value of the table's case field are one case. A message without such groups is one case.
    pub fn new(table: &MessageTable, placed: &Placed<'_>, message: &Message<'_>) -> Result<Self, MapError> {
        let mut keys: Vec<Option<&str>> = Vec::new();
        let mut of_frame = vec![None; placed.frames.len()];
        for (at, frame) in placed.frames.iter().enumerate() {
            let Some((name, field)) = frame.group.and_then(|g| table.groups[g].case_by) else { continue };
            let holder = placed.frames[at..frame.end]
                .iter()
                .flat_map(|f| &f.segments)
                .find(|s| message.segments[**s].name == name);
            let span = holder.and_then(|s| message.field(*s, field)).filter(|span| message.is_valued(*span));
            let key = span.map(|span| span.of(&message.text));
            let known = keys.iter().position(|k| key.is_some() && *k == key);
            let case = known.unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            });
            if keys.len() > MAX_CASES {
                let place = frame.segments.first().map_or(0, |s| message.segments[*s].span.start as usize);
                let text = format!("the message is about more than {MAX_CASES} patients");
                return Err(MapError::new(
                    "too-many-patients",
                    String::from_utf8_lossy(&name),
                    message.input_offset(place),
                    text,
                ));
            }
            of_frame[at..frame.end].fill(u32::try_from(case).ok());
        }
        Ok(Self { count: keys.len().max(1), of_frame })
    }

    /// Whether a frame speaks about this case.
    pub fn holds(&self, case: usize, frame: usize) -> bool {
        self.of_frame.get(frame).copied().flatten().is_none_or(|of| of as usize == case)
    }
}
