//! One instruction whose memory operand is a register window, the processor control region or the
//! shared user data: carried out on the saved state, its accesses through the models.

// UNSAFETY: a string instruction's other operand is the driver's memory.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::alu::{self, Operation, compute, mask, sign_extended};
use super::fault::{Extended, Frame};
use super::port::Port;
use crate::machine::Kernel;
use crate::verifier::Violation;

/// The state that an instruction works on.
pub(super) struct Processor<'p> {
    pub kernel: &'p Kernel,
    pub frame: &'p mut Frame,
    pub extended: &'p mut Extended,
}

/// Why an instruction is not carried out.
pub(super) enum Refused {
    /// No one has taught this host the instruction.
    Unknown,
    /// The access breaks a rule.
    Violation(Violation),
}

impl From<Violation> for Refused {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Processor<'_> {
    /// The value of a general register, in its own width.
    pub(super) fn register(&self, register: Register) -> Option<u64> {
        let value = match number(register)? {
            4 => self.frame.rsp(),
            5 => self.frame.rbp,
            other => self.frame.registers[other],
        };
        let value = if is_high(register) { value >> 8 } else { value };
        Some(value & mask(register.size()))
    }

    /// Writes a general register; 32 bits clear the upper ones.
    pub(super) fn set_register(&mut self, register: Register, value: u64) -> Result<(), Refused> {
        let number = number(register).filter(|&number| number != 4).ok_or(Refused::Unknown)?;
        let place = match number {
            5 => &mut self.frame.rbp,
            other => &mut self.frame.registers[other],
        };
        let shift = if is_high(register) { 8 } else { 0 };
        let kept =
            if register.size() == 4 { 0 } else { *place & !(mask(register.size()) << shift) };
        *place = kept | (value & mask(register.size())) << shift;
        Ok(())
    }

    /// The address of a memory operand, without a segment's base.
    pub(super) fn address(&self, instruction: &Instruction, operand: u32) -> Option<u64> {
        instruction.virtual_address(operand, 0, |register, _, _| match register {
            Register::GS | Register::FS | Register::DS | Register::ES | Register::SS => Some(0),
            Register::CS => Some(0),
            other => self.register(other),
        })
    }

    /// Carries the instruction out; operand `memory` is at `port`.
    pub(super) fn execute(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
    ) -> Result<(), Refused> {
        use Mnemonic as M;

        let size = instruction.memory_size().size();
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(Refused::Unknown);
        }
        match instruction.mnemonic() {
            M::Movsb
            | M::Movsw
            | M::Movsd
            | M::Movsq
            | M::Stosb
            | M::Stosw
            | M::Stosd
            | M::Stosq
            | M::Lodsb
            | M::Lodsw
            | M::Lodsd
            | M::Lodsq
                if is_string(instruction) =>
            {
                self.string(instruction, memory, port, size)
            }
            M::Mov | M::Movnti => self.moves(instruction, memory, port, size),
            M::Movzx => {
                let value = self.read(port, size)?;
                self.set_register(instruction.op0_register(), value)
            }
            M::Movsx | M::Movsxd => {
                let value = sign_extended(self.read(port, size)?, size);
                self.set_register(instruction.op0_register(), value)
            }
            M::Movd | M::Movq => self.moves_vector(instruction, memory, port, size),
            M::Add => self.arithmetic(instruction, memory, port, Operation::Add, true),
            M::Adc => self.arithmetic(instruction, memory, port, Operation::AddCarry, true),
            M::Sub => self.arithmetic(instruction, memory, port, Operation::Subtract, true),
            M::Sbb => self.arithmetic(instruction, memory, port, Operation::SubtractBorrow, true),
            M::And => self.arithmetic(instruction, memory, port, Operation::And, true),
            M::Or => self.arithmetic(instruction, memory, port, Operation::Or, true),
            M::Xor => self.arithmetic(instruction, memory, port, Operation::Xor, true),
            M::Cmp => self.arithmetic(instruction, memory, port, Operation::Subtract, false),
            M::Test => self.arithmetic(instruction, memory, port, Operation::And, false),
            M::Inc | M::Dec | M::Not | M::Neg => self.one_operand(instruction, port, size),
            M::Xchg => self.exchange(instruction, memory, port, size),
            M::Bt => self.bit_test(instruction, port, size),
            _ => Err(Refused::Unknown),
        }
    }

    fn read(&mut self, port: Port, size: usize) -> Result<u64, Refused> {
        Ok(port.read(self.kernel, self.frame, size)? & mask(size))
    }

    fn write(&mut self, port: Port, size: usize, value: u64) -> Result<(), Refused> {
        Ok(port.write(self.kernel, self.frame, size, value & mask(size))?)
    }

    /// A register operand or an immediate one.
    fn operand(&self, instruction: &Instruction, operand: u32) -> Result<u64, Refused> {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                self.register(instruction.op_register(operand)).ok_or(Refused::Unknown)
            }
            kind if is_immediate(kind) => Ok(instruction.immediate(operand)),
            _ => Err(Refused::Unknown),
        }
    }

    fn moves(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        if memory == 0 {
            let value = self.operand(instruction, 1)?;
            return self.write(port, size, value);
        }
        let value = self.read(port, size)?;
        self.set_register(instruction.op0_register(), value)
    }

    fn moves_vector(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        let register = instruction.op_register(1 - memory);
        // CAST: one of sixteen.
        let index = register.number();
        let Some(vector) = self.extended.xmm.get(index).copied().filter(|_| register.is_xmm())
        else {
            return Err(Refused::Unknown);
        };
        if memory == 0 {
            // CAST: the low half, of which the access takes its part.
            return self.write(port, size, vector as u64);
        }
        self.extended.xmm[index] = u128::from(self.read(port, size)?);
        Ok(())
    }

    fn arithmetic(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
        operation: Operation,
        keeps: bool,
    ) -> Result<(), Refused> {
        let size = instruction.memory_size().size();
        let here = self.read(port, size)?;
        let other = self.operand(instruction, 1 - memory)?;
        let (a, b) = if memory == 0 { (here, other) } else { (other, here) };
        let (result, flags) = compute(operation, size, a, b, self.frame.flags);
        if keeps {
            match memory {
                0 => self.write(port, size, result)?,
                _ => self.set_register(instruction.op0_register(), result)?,
            }
        }
        self.frame.flags = flags;
        Ok(())
    }

    fn one_operand(
        &mut self,
        instruction: &Instruction,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        let value = self.read(port, size)?;
        let flags = self.frame.flags;
        let (result, flags) = match instruction.mnemonic() {
            Mnemonic::Not => (!value, flags),
            Mnemonic::Neg => compute(Operation::Subtract, size, 0, value, flags),
            other => {
                let operation =
                    if other == Mnemonic::Inc { Operation::Add } else { Operation::Subtract };
                let (result, new) = compute(operation, size, value, 1, flags);
                // These two leave the carry alone.
                (result, new & !alu::CARRY | flags & alu::CARRY)
            }
        };
        self.write(port, size, result)?;
        self.frame.flags = flags;
        Ok(())
    }

    fn exchange(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        let register = instruction.op_register(1 - memory);
        let new = self.register(register).ok_or(Refused::Unknown)?;
        let old = self.read(port, size)?;
        self.write(port, size, new)?;
        self.set_register(register, old)
    }

    fn bit_test(
        &mut self,
        instruction: &Instruction,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        if !is_immediate(instruction.op1_kind()) {
            // The register form may reach another word than the operand.
            return Err(Refused::Unknown);
        }
        // CAST: widening.
        let bit = instruction.immediate(1) % (size as u64 * 8);
        let value = self.read(port, size)?;
        self.frame.flags = self.frame.flags & !alu::CARRY | value >> bit & 1;
        Ok(())
    }

    /// One element of a string instruction; with a repeat prefix the next one faults again.
    fn string(
        &mut self,
        instruction: &Instruction,
        memory: u32,
        port: Port,
        size: usize,
    ) -> Result<(), Refused> {
        let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
        let count = self.frame.registers[1];
        let is_store = matches!(
            instruction.mnemonic(),
            Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq
        );
        let is_load = matches!(
            instruction.mnemonic(),
            Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd | Mnemonic::Lodsq
        );
        let (source, target) = (6, 7);
        if is_store {
            self.write(port, size, self.frame.registers[0])?;
        } else if is_load {
            let value = self.read(port, size)?;
            self.set_register(instruction.op0_register(), value)?;
        } else if memory == 0 {
            let from: *const u8 =
                std::ptr::with_exposed_provenance(self.frame.registers[source] as usize);
            let mut bytes = [0; 8];
            // SAFETY: the driver's memory, which it was about to read itself.
            unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), size) };
            self.write(port, size, u64::from_le_bytes(bytes))?;
        } else {
            let bytes = self.read(port, size)?.to_le_bytes();
            let to: *mut u8 =
                std::ptr::with_exposed_provenance_mut(self.frame.registers[target] as usize);
            // SAFETY: the driver's memory, which it was about to write itself.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
        }
        // CAST: at most 8.
        let size = size as u64;
        let backwards = self.frame.flags & 1 << 10 != 0;
        let step = if backwards { size.wrapping_neg() } else { size };
        if !is_store {
            self.frame.registers[source] = self.frame.registers[source].wrapping_add(step);
        }
        if !is_load {
            self.frame.registers[target] = self.frame.registers[target].wrapping_add(step);
        }
        if repeats {
            self.frame.registers[1] = count.wrapping_sub(1);
            if count != 1 {
                self.frame.rip = instruction.ip();
            }
        }
        Ok(())
    }
}

/// The x86 number of a general register.
fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

fn is_high(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

fn is_immediate(kind: OpKind) -> bool {
    matches!(
        kind,
        OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64
    )
}

/// Whether an operand is memory.
pub(super) fn is_memory(kind: OpKind) -> bool {
    kind == OpKind::Memory || is_string_memory(kind)
}

fn is_string_memory(kind: OpKind) -> bool {
    matches!(kind, OpKind::MemorySegRSI | OpKind::MemoryESRDI)
}

fn is_string(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|operand| is_string_memory(instruction.op_kind(operand)))
}
