//! An interrupt's policy: on which processors it is taken.

use wdk_lite::*;

use crate::machine::Kernel;

/// The processors that a policy names, a bit for each; 0 leaves it to the system, which on this
/// machine means any processor, whatever else the policy says.
///
/// # Errors
/// What is wrong: what the framework refuses under its verifier (KMDF's fxinterruptapi.cpp), or a
/// mask with a bit that is no active processor's, which is always zero (interrupt-affinity.md).
pub(super) fn named(
    kernel: &Kernel,
    policy: &WDF_INTERRUPT_EXTENDED_POLICY,
) -> Result<u64, String> {
    use _WDF_INTERRUPT_POLICY as Policy;
    use _WDF_INTERRUPT_PRIORITY as Priority;

    let policies =
        Policy::WdfIrqPolicyMachineDefault..=Policy::WdfIrqPolicySpreadMessagesAcrossAllProcessors;
    if !policies.contains(&policy.Policy) {
        return Err(format!("policy {}, which does not exist", policy.Policy));
    }
    // As the framework has it, though the page's initial value is WdfIrqPriorityUndefined.
    if !(Priority::WdfIrqPriorityLow..=Priority::WdfIrqPriorityHigh).contains(&policy.Priority) {
        return Err(format!("priority {}, which is none", policy.Priority));
    }
    let GROUP_AFFINITY { Mask: mask, Group: group, Reserved: reserved } =
        policy.TargetProcessorSetAndGroup;
    if reserved != [0; 3] {
        return Err("reserved fields of the processor set that are not zero".to_owned());
    }
    if policy.Policy != Policy::WdfIrqPolicySpecifiedProcessors {
        return Ok(0);
    }
    let active = kernel.all_processors();
    if group != 0 || mask == 0 || mask & !active != 0 {
        return Err(format!(
            "processors {mask:#x} of group {group}, not all of which are active ({active:#x} of \
             group 0 are)"
        ));
    }
    Ok(mask)
}
