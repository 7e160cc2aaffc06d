//! What the registers of a sequence hold at an instruction, as far as the law asks.

use super::law::{reads, writes};
use iced_x86::{FlowControl, Instruction, InstructionInfo, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// The caller; never written behind the restart address.
    Input,
    /// An address that the code itself contains.
    Address(u64),
    /// Loaded through inputs: from the table.
    Loaded,
    /// Computed from the id that was read inside the section.
    Row,
    /// Loaded through [`Self::Row`]: a queue's word.
    Word,
    /// Computed from [`Self::Word`].
    Moved,
    /// Loaded through a word, from a sheaf or a chained block.
    Link,
    /// Anything else.
    Other,
}

/// What is known before an instruction, on every path to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Registers that are written somewhere behind the restart address.
    changed: Vec<Register>,
    /// Those of them that have been written on the way here.
    values: BTreeMap<u32, Value>,
    /// The bits of the flags that have been written on the way here.
    flags: u32,
    /// The register through which a word of the own row was looked at, if it still holds its address.
    examined: Option<Register>,
}

impl State {
    /// At the restart address.
    pub(crate) fn new(changed: Vec<Register>) -> Self {
        Self { changed, values: BTreeMap::new(), flags: 0, examined: None }
    }

    pub(crate) fn value(&self, register: Register) -> Value {
        let register = register.full_register();
        let unwritten = if self.changed.contains(&register) { Value::Other } else { Value::Input };
        self.values.get(&(register as u32)).copied().unwrap_or(unwritten)
    }

    pub(crate) fn examined(&self) -> Option<Register> {
        self.examined
    }

    /// Rule 6.
    pub(crate) fn may_read(&self, instruction: &Instruction, info: &InstructionInfo) -> Result<(), String> {
        for used in info.used_registers() {
            let (register, partial) = (used.register().full_register(), used.register().size() < 4 && used.register().is_gpr());
            let matters = used.register().is_gpr() && (reads(used.access()) || (partial && writes(used.access())));
            if matters && self.changed.contains(&register) && !self.values.contains_key(&(register as u32)) {
                return Err(format!("reads {register:?}, which an abort may have changed"));
            }
        }
        let known = instruction.rflags_read() & !self.flags == 0;
        if known { Ok(()) } else { Err("reads flags that were not set behind the restart address".to_owned()) }
    }

    /// The state after it; `inside` the section or before it.
    pub(crate) fn apply(&mut self, instruction: &Instruction, info: &InstructionInfo, inside: bool) {
        let result = self.result(instruction, inside);
        let through = instruction.memory_base();
        let bare = instruction.memory_index() == Register::None && instruction.memory_displacement64() == 0;
        let reads_memory = info.used_memory().iter().any(|used| reads(used.access()));
        if reads_memory && bare && self.value(through) == Value::Row {
            self.examined = Some(through);
        }
        for used in info.used_registers().iter().filter(|used| writes(used.access()) && used.register().is_gpr()) {
            let register = used.register().full_register();
            self.values.insert(register as u32, result);
            if self.examined == Some(register) {
                self.examined = None;
            }
        }
        self.flags |= instruction.rflags_modified() & !instruction.rflags_undefined();
    }

    /// What the instruction writes into its registers.
    fn result(&self, instruction: &Instruction, inside: bool) -> Value {
        let memory = (0..instruction.op_count()).find(|&at| instruction.op_kind(at) == OpKind::Memory);
        match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => Value::Address(instruction.ip_rel_memory_address()),
            Mnemonic::Lea => self.address(instruction),
            Mnemonic::Mov if memory.is_some() => self.load(instruction, inside),
            Mnemonic::Mov if instruction.op1_kind() == OpKind::Register => self.value(instruction.op1_register()),
            Mnemonic::Mov => Value::Other,
            _ if instruction.flow_control() != FlowControl::Next => Value::Other,
            _ => self.mix(instruction),
        }
    }

    fn load(&self, instruction: &Instruction, inside: bool) -> Value {
        if instruction.segment_prefix() == Register::FS {
            return if inside { Value::Row } else { Value::Other };
        }
        let bare = instruction.memory_index() == Register::None && instruction.memory_displacement64() == 0;
        match self.address(instruction) {
            Value::Row if bare && instruction.memory_size().size() == 8 => Value::Word,
            Value::Word | Value::Moved => Value::Link,
            Value::Input => Value::Loaded,
            _ => Value::Other,
        }
    }

    /// What the registers of a memory operand make together.
    fn address(&self, instruction: &Instruction) -> Value {
        let parts = [instruction.memory_base(), instruction.memory_index()];
        self.together(parts.into_iter().filter(|&part| part != Register::None))
    }

    /// What an operation on registers makes of them.
    fn mix(&self, instruction: &Instruction) -> Value {
        let operands = (0..instruction.op_count()).filter(|&at| instruction.op_kind(at) == OpKind::Register);
        match self.together(operands.map(|at| instruction.op_register(at))) {
            Value::Word => Value::Moved,
            Value::Input => Value::Other,
            mixed => mixed,
        }
    }

    fn together(&self, registers: impl Iterator<Item = Register>) -> Value {
        let values: Vec<_> = registers.map(|register| self.value(register)).collect();
        let has = |value: Value| values.contains(&value);
        match () {
            () if has(Value::Row) => Value::Row,
            () if has(Value::Word) => Value::Word,
            () if has(Value::Moved) => Value::Moved,
            () if !values.is_empty() && values.iter().all(|&value| value == Value::Input) => Value::Input,
            () => Value::Other,
        }
    }

    /// What is known where two paths meet.
    #[must_use]
    pub(crate) fn join(mut self, other: &Self) -> Self {
        self.values.retain(|register, _| other.values.contains_key(register));
        for (register, value) in &mut self.values {
            if other.values[register] != *value {
                *value = Value::Other;
            }
        }
        self.flags &= other.flags;
        self.examined = self.examined.filter(|_| self.examined == other.examined);
        self
    }
}
