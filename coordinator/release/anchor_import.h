#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/release/public_text.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

struct AnchorSource {
  std::string id;
  std::filesystem::path model_directory;  // a Hugging Face directory
  std::vector<PublicTextSource> public_texts;
};

// Publishes an anchor: checks the model directory strictly, collects public
// text, lets the worker make tokens and statistics, stores every file as a blob
// and signs the manifest. Importing the same files under the same id again
// returns the anchor that is there. INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED:
// the model or a text cannot be used; ALREADY_EXISTS: the id has other files.
StatusOr<AnchorRow> ImportAnchor(const Core& core, TaskRunner& runner,
                                 const AnchorSource& source,
                                 const ProgressFunction& progress,
                                 const CancellationToken& cancellation);

}  // namespace tributary::coordinator
