#pragma once

namespace drop {

/// Where writing a file can be cut short: the steps of the atomic writer, then those of an appended
/// file.
enum class WritePoint {
  kOpen,          ///< "open": before the temporary file is made
  kHalfWritten,   ///< "half-written"
  kBeforeSync,    ///< "before-sync": all bytes written, not yet safe on disk
  kBeforeRename,  ///< "before-rename"
  kAfterRename,   ///< "after-rename": the folder is not synced yet
  kBeforeAppend,  ///< "before-append"
  kHalfAppended   ///< "half-appended"
};

/// Test hook: what `DROP_FAULT=POINT:N[:kill|ENOSPC|EIO]` asks for happens when this process comes
/// to that point for the N-th time (POINT `any`: to any of them). `kill` is kill -9; with an error
/// the result is true, errno is set, and the caller fails as if the system had said so (behind
/// `after-rename` nothing can fail any more).
///
/// It is compiled always, so that what is tested is what is used: it costs one look at the
/// environment for each process. It can do nothing that a crash or a full disk could not do, and it
/// says on standard error that it is armed. Throws UsageError for a value that it does not know.
bool fault_at(WritePoint point);

}  // namespace drop
