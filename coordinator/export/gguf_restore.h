#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model_format/model_config.h"

namespace tributary::coordinator {

// Makes a Hugging Face mixture (config.json and model.safetensors) in `folder`
// from a GGUF file of the "llama" architecture with experts, from the file
// alone: what is wrong in it is wrong there. Llama 3's rotary scaling is stored
// as factors, which must be those of `rope`. INVALID_ARGUMENT names the entry
// or tensor that is missing or wrong.
Status RestoreGguf(const std::filesystem::path& file,
                   const model_format::Rope& rope,
                   const std::filesystem::path& folder);

}  // namespace tributary::coordinator
