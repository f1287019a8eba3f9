#pragma once

#include <string>

#include "coordinator/report/release_facts.h"

namespace tributary::coordinator {

// README.md of a Hugging Face export: a model card with YAML metadata. The
// licence is `licence` where it is given, else the anchor's own.
std::string ModelCard(const ReleaseFacts& facts, const std::string& licence);

}  // namespace tributary::coordinator
