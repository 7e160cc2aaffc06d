//! The code of an executable, and the descriptors of its restartable sequences.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use object::{Object, ObjectSection, RelocationFlags, SectionKind, elf};
use std::collections::HashMap;
use std::path::Path;

/// What the four bytes before an abort address hold.
pub(crate) const SIGNATURE: u32 = 0x5305_3053;

/// One `struct rseq_cs`, with the addresses that the linker gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Where it is itself.
    pub(crate) at: u64,
    pub(crate) version: u32,
    pub(crate) flags: u32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) abort: u64,
}

impl Descriptor {
    /// The first address behind the section.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// True for the addresses at which the kernel would abort.
    pub(crate) fn covers(&self, address: u64) -> bool {
        (self.start..self.end()).contains(&address)
    }
}

/// Executable bytes with their addresses, and descriptors.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) code: Vec<(u64, Vec<u8>)>,
    pub(crate) descriptors: Vec<Descriptor>,
}

impl Image {
    /// Reads an ELF file.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = object::File::parse(&*bytes).unwrap();
        let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
        let code = code.map(|section| (section.address(), section.data().unwrap().to_vec())).collect();
        Self { code, descriptors: descriptors(&file) }
    }

    /// The same, as it is loaded `bias` bytes further up.
    pub(crate) fn loaded(mut self, bias: u64) -> Self {
        self.code.iter_mut().for_each(|(first, _)| *first += bias);
        for descriptor in &mut self.descriptors {
            [&mut descriptor.at, &mut descriptor.start, &mut descriptor.abort].into_iter().for_each(|address| *address += bias);
        }
        self
    }

    /// Up to `length` bytes of code from `address` on.
    pub(crate) fn bytes(&self, address: u64, length: usize) -> &[u8] {
        let inside = |(first, bytes): &&(u64, Vec<u8>)| (*first..*first + bytes.len() as u64).contains(&address);
        self.code.iter().find(inside).map_or(&[], |(first, bytes)| {
            let rest = &bytes[(address - first) as usize..];
            &rest[..length.min(rest.len())]
        })
    }

    /// The instruction at `address`, unless there is none.
    pub(crate) fn instruction(&self, address: u64) -> Option<Instruction> {
        let mut decoder = Decoder::with_ip(64, self.bytes(address, 15), address, DecoderOptions::NONE);
        decoder.can_decode().then(|| decoder.decode()).filter(|instruction| !instruction.is_invalid())
    }

    /// The four bytes before `address`.
    pub(crate) fn signature(&self, address: u64) -> Option<u32> {
        self.bytes(address.wrapping_sub(4), 4).try_into().ok().map(u32::from_le_bytes)
    }
}

/// All of the section `__rseq_cs`, pointers relocated.
fn descriptors(file: &object::File<'_>) -> Vec<Descriptor> {
    let Some(section) = file.section_by_name("__rseq_cs") else { return Vec::new() };
    let (address, data) = (section.address(), section.data().unwrap());
    assert!(data.len().is_multiple_of(32), "__rseq_cs has {} bytes", data.len());
    let relative: HashMap<_, _> = file
        .dynamic_relocations()
        .into_iter()
        .flatten()
        .filter(|(_, relocation)| relocation.flags() == RelocationFlags::Elf { r_type: elf::R_X86_64_RELATIVE })
        .map(|(at, relocation)| (at, relocation.addend() as u64))
        .collect();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    // Of a position-independent executable the pointers are relocations, unless these are packed and leave the addends in place.
    let pointer = |at: usize| {
        let in_place = u64::from_le_bytes(data[at..at + 8].try_into().unwrap());
        relative.get(&(address + at as u64)).copied().unwrap_or(in_place)
    };
    (0..data.len())
        .step_by(32)
        .map(|at| Descriptor {
            at: address + at as u64,
            version: word(at),
            flags: word(at + 4),
            start: pointer(at + 8),
            length: u64::from_le_bytes(data[at + 16..at + 24].try_into().unwrap()),
            abort: pointer(at + 24),
        })
        .collect()
}

/// An instruction as an assembler would read it, with its address.
pub(crate) fn text(instruction: &Instruction) -> String {
    let mut text = format!("{:#x}: ", instruction.ip());
    IntelFormatter::new().format(instruction, &mut text);
    text
}
