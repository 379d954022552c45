//! Sections O to R: requests, queues, buffers, objects and files.

use super::Home::{Check, Review, Type};
use super::{Rule, RuleId};

/// The rules of these sections, in order.
pub(super) const RULES: [Rule; 27] = [
    Rule {
        id: RuleId::Kmdf21,
        title: "Exactly one completion",
        text: "Every request delivered is completed, forwarded or requeued exactly once on every \
               path. Never is as wrong as twice: the queue never idles, power-down times out, the \
               process hangs.",
        verifier: "0x44, 0xC9, 0x9F, KMDF break",
        sources: &[
            "CON/wdf/completing-i-o-requests.md",
            "CON/devtest/kmdf-doublecompletion.md",
            "CON/debugger/bug-check-0x44--multiple-irp-complete-requests.md",
            "WDF/shared/core/fxrequest.cpp",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Kmdf22,
        title: "Nothing survives completion",
        text: "After WdfRequestComplete* the handle, IRP, buffers, MDLs, WDFMEMORYs and request \
               context are gone. An extra reference keeps only handle and context.",
        verifier: "0x10D/5",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestcomplete.md",
            "CON/wdf/memory-buffer-life-cycle.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf23,
        title: "Where to complete",
        text: "At or below DISPATCH_LEVEL and with no spin lock held, since completion can \
               re-enter the driver. STATUS_PENDING is no completion status. Framework statuses are \
               translated for the caller (NOT_ENOUGH_MAP_REGISTERS becomes INSUFFICIENT_RESOURCES, \
               PAUSED becomes DEVICE_BUSY).",
        verifier: "0xC9",
        sources: &[
            "DDI/wdm/nf-wdm-iocompleterequest.md",
            "CON/kernel/how-to-complete-an-irp-in-a-dispatch-routine.md",
            "WDF/shared/core/fxrequest.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf24,
        title: "Information",
        text: "On success at most the Length of a read or write, or OutputBufferLength for a \
               user-mode IOCTL with an output buffer, and equal to the bytes really produced. A \
               nonzero value with output length 0 and METHOD_BUFFERED is an error.",
        verifier: "0x10D/6, KMDF break",
        sources: &[
            "WDF/shared/core/fxrequest.cpp",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestcompletewithinformation.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf25,
        title: "No buffer references at completion",
        text: "References taken on a request's WDFMEMORYs are dropped before it is completed.",
        verifier: "0x10D/3",
        sources: &["CON/debugger/bug-check-0x10d---wdf-violation.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf26,
        title: "Marking a request cancelable",
        text: "Only an owned request that is not cancelable yet, with its state already valid. \
               WdfRequestMarkCancelable may run EvtRequestCancel before it returns: only with \
               automatic synchronisation and no lock held. MarkCancelableEx never calls back: on \
               STATUS_CANCELLED the caller does the cancel work and completes.",
        verifier: "KMDF break",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestmarkcancelable.md",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestmarkcancelableex.md",
            "WDF/shared/irphandlers/io/fxioqueue.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf27,
        title: "Unmark before completing",
        text: "Outside EvtRequestCancel a cancelable request is completed only after \
               WdfRequestUnmarkCancelable returned something other than STATUS_CANCELLED; if it \
               returned that, the cancel routine alone completes, and nobody else touches the \
               request. No unmark after the cancel routine has completed it.",
        verifier: "KMDF break",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestunmarkcancelable.md",
            "CON/wdf/synchronizing-cancel-and-completion-code.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf28,
        title: "Handle validity in the cancel race",
        text: "The DPC uses no request pointer that EvtRequestCancel may have completed: keep the \
               current request in state under a lock, clear it in the cancel path, or hold a \
               reference while deciding.",
        verifier: "",
        sources: &["DDI/wdfrequest/nf-wdfrequest-wdfrequestunmarkcancelable.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf29,
        title: "Cancelling with DMA in flight",
        text: "Stop the engine, confirm that it is idle, flush or put, free map registers, then \
               complete with STATUS_CANCELLED; never while the device may still write. If stopping \
               takes time, the cancel routine records the wish and the DPC completes; exactly one \
               party. A pending v3 allocation: see DMA-68.",
        verifier: "",
        sources: &[
            "DDI/wdfrequest/nc-wdfrequest-evt_wdf_request_cancel.md",
            "DDI/wdm/nc-wdm-pcancel_adapter_channel.md",
            "CON/kernel/using-direct-i-o-with-dma.md",
        ],
        homes: &[Type("packet::Mapping"), Check],
    },
    Rule {
        id: RuleId::Kmdf30,
        title: "Other cancel rules",
        text: "Unmark before forwarding or requeueing. WdfRequestIsCanceled only on owned requests \
               that are not cancelable. The framework cancels queued requests, unless \
               EvtIoCanceledOnQueue is registered, which then completes them. Requests that the \
               driver created are deleted, not completed.",
        verifier: "KMDF break",
        sources: &[
            "CON/wdf/canceling-i-o-requests.md",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestiscanceled.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf31,
        title: "Power-managed queues for hardware work",
        text: "Their requests arrive only in D0 (the default for function drivers, not for \
               filters). Handlers of other queues touch no register and start no DMA without a \
               power reference of their own.",
        verifier: "",
        sources: &[
            "CON/wdf/power-management-for-i-o-queues.md",
            "WDF/shared/irphandlers/io/fxioqueue.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf32,
        title: "EvtIoStop or prompt completion",
        text: "When the device leaves D0 or is removed, EvtIoStop is called for each owned \
               request; without it, or if it neither completes nor acknowledges, the power thread \
               waits until the request completes. Requests held for long need it.",
        verifier: "0x9F, 0x10D/1",
        sources: &[
            "DDI/wdfio/nc-wdfio-evt_wdf_io_queue_io_stop.md",
            "CON/wdf/using-power-managed-i-o-queues.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf33,
        title: "Legal EvtIoStop actions",
        text: "Unmark if cancelable, then complete; or unmark and WdfRequestStopAcknowledge(TRUE), \
               which requeues at the head; or StopAcknowledge(FALSE), which keeps ownership and \
               needs EvtIoResume. If unmark returned STATUS_CANCELLED, just return. \
               StopAcknowledge only inside EvtIoStop.",
        verifier: "KMDF break",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequeststopacknowledge.md",
            "WDF/shared/core/fxrequest.cpp",
        ],
        homes: &[
            Check,
            Review(
                "nthost calls EvtIoResume if there is one; that a driver which keeps a request has \
                 one is a rule about its source",
            ),
        ],
    },
    Rule {
        id: RuleId::Kmdf34,
        title: "Stop the hardware before acknowledging",
        text: "Before StopAcknowledge or completion all DMA of the request is halted and its \
               mapping released; with Requeue TRUE no register or list stays attached. After FALSE \
               no hardware access until EvtIoResume.",
        verifier: "",
        sources: &["DDI/wdfrequest/nf-wdfrequest-wdfrequeststopacknowledge.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf35,
        title: "No blocking in handlers",
        text: "Handlers run in arbitrary thread context, by default at or below DISPATCH_LEVEL; \
               one of a power-managed queue does not wait on dispatcher objects.",
        verifier: "0xC4/0x121, 0xC4/0x122",
        sources: &["CON/wdf/using-power-managed-i-o-queues.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf36,
        title: "Queue configuration",
        text: "Sequential: one request at a time. Parallel: many, limited by \
               NumberOfPresentedRequests, which is 0 elsewhere. Manual: no handlers; others have \
               at least one. Zero-length reads and writes never arrive unless \
               AllowZeroLengthRequests. State changes of a queue do not overlap.",
        verifier: "",
        sources: &[
            "DDI/wdfio/ns-wdfio-_wdf_io_queue_config.md",
            "CON/wdf/dispatching-methods-for-i-o-requests.md",
            "WDF/shared/irphandlers/io/fxioqueue.cpp",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf37,
        title: "I/O type of reads and writes",
        text: "The default is buffered: for DMA into the caller's memory select WdfDeviceIoDirect \
               before WdfDeviceCreate. With buffered I/O the retrieved MDL describes the nonpaged \
               system buffer.",
        verifier: "",
        sources: &[
            "DDI/wdfdevice/nf-wdfdevice-wdfdeviceinitsetiotypeex.md",
            "CON/wdf/wdm-equivalents-for-kmdf-buffer-pointers.md",
        ],
        homes: &[Review("either type is legal; which one was meant is a decision of the design")],
    },
    Rule {
        id: RuleId::Kmdf38,
        title: "IOCTL methods",
        text: "BUFFERED: one system buffer of the larger length, so read inputs before writing \
               outputs. IN_DIRECT, OUT_DIRECT: the first buffer is a system copy (Input* calls), \
               the second an MDL (Output* calls) of OutputBufferLength, probed for read or for \
               write. NEITHER: raw user pointers.",
        verifier: "",
        sources: &[
            "CON/kernel/buffer-descriptions-for-i-o-control-codes.md",
            "WDF/shared/core/fxrequest.cpp",
            "WDF/shared/core/km/fxrequestkm.cpp",
        ],
        homes: &[
            Check,
            Review(
                "the order of plain loads and stores in the shared system buffer is invisible to \
                 nthost",
            ),
        ],
    },
    Rule {
        id: RuleId::Kmdf39,
        title: "Buffer retrieval results",
        text: "Honour each failure: STATUS_BUFFER_TOO_SMALL (length 0 or below the minimum), \
               STATUS_INVALID_DEVICE_REQUEST (Input* on a read, Output* on a write, NEITHER from \
               user mode), STATUS_INTERNAL_ERROR (already completed), \
               STATUS_INSUFFICIENT_RESOURCES (no mapping). The buffer is usable until completion.",
        verifier: "",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestretrieveoutputbuffer.md",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestretrieveoutputwdmmdl.md",
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestretrieveinputwdmmdl.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf40,
        title: "METHOD_NEITHER and embedded pointers",
        text: "Only in EvtIoInCallerContext, PASSIVE_LEVEL, the requester's context: \
               RetrieveUnsafeUser*Buffer, WdfRequestProbeAndLockUserBufferForRead/Write, the \
               WDFMEMORY kept in request context, WdfDeviceEnqueueRequest. The length does not \
               exceed the real buffer; 0 gives STATUS_INVALID_USER_BUFFER.",
        verifier: "",
        sources: &[
            "DDI/wdfrequest/nf-wdfrequest-wdfrequestprobeandlockuserbufferforwrite.md",
            "CON/wdf/accessing-data-buffers-in-wdf-drivers.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf41,
        title: "Direct buffers are shared with user mode",
        text: "The user can change the bytes at any time: copy what is to be validated to kernel \
               memory first, and never keep device descriptors or scratch state in the user's \
               buffer.",
        verifier: "",
        sources: &[
            "CON/driversecurity/driver-security-checklist.md",
            "CON/kernel/errors-in-direct-i-o.md",
        ],
        homes: &[Review("a second read of user memory is a plain load, which nthost does not see")],
    },
    Rule {
        id: RuleId::Kmdf42,
        title: "Object lifetime",
        text: "Children die with their parent; each reference has its dereference; WdfObjectDelete \
               and count 0 destroy an object, never a dereference alone. Give WdfMemoryCreate a \
               parent. Siblings die in no stated order.",
        verifier: "0x10D/7, 0x10D/5",
        sources: &[
            "CON/wdf/framework-object-life-cycle.md",
            "DDI/wdfobject/nf-wdfobject-wdfobjectdelete.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf43,
        title: "Undeletable objects",
        text: "The driver does not delete a WDFDEVICE (other than a control device), WDFDRIVER, \
               WDFFILEOBJECT, WDFINTERRUPT, WDFCMRESLIST, or a default or dispatch-target queue.",
        verifier: "",
        sources: &["DDI/wdfobject/nf-wdfobject-wdfobjectdelete.md"],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf44,
        title: "WDM objects held in context space",
        text: "DMA_ADAPTER, common buffers, lists, MMIO mappings and MDLs built by the driver are \
               no framework objects: release each in ReleaseHardware or a cleanup callback at \
               PASSIVE_LEVEL, the adapter last. Inferred.",
        verifier: "0xE6/0x07-0x0A, 0xC4/0x62",
        sources: &[
            "DDI/wdm/nc-wdm-pput_dma_adapter.md",
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_release_hardware.md",
        ],
        homes: &[Type("irql::Passive"), Check],
    },
    Rule {
        id: RuleId::Kmdf45,
        title: "File create",
        text: "EvtDeviceFileCreate completes or forwards its request. If it fails the create, \
               neither EvtFileCleanup nor EvtFileClose follows: allocations go into file context \
               or are freed by a cleanup callback. A device without an interface fails creates.",
        verifier: "",
        sources: &[
            "CON/wdf/framework-file-objects.md",
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_device_file_create.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf46,
        title: "Cleanup, then close",
        text: "Cleanup: last handle closed, PASSIVE_LEVEL, the closer's thread, requests may be \
               outstanding. Close: after all requests of the file, PASSIVE_LEVEL, arbitrary \
               context, the device possibly not in D0, so no hardware access.",
        verifier: "",
        sources: &[
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_file_cleanup.md",
            "DDI/wdfdevice/nc-wdfdevice-evt_wdf_file_close.md",
        ],
        homes: &[Check],
    },
    Rule {
        id: RuleId::Kmdf47,
        title: "Requests at cleanup",
        text: "The framework calls EvtFileCleanup, then cancels the file's queued requests. Those \
               already delivered are the driver's: stop and complete them, and release what the \
               file pinned, also after an abnormal exit of the process.",
        verifier: "",
        sources: &[
            "WDF/shared/irphandlers/general/fxpkggeneral.cpp",
            "WDF/shared/irphandlers/io/fxioqueue.cpp",
        ],
        homes: &[Check],
    },
];
