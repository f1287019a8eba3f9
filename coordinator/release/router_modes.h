#pragma once

// Routers that the coordinator makes itself, after a merge (docs/routers.md).

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/release_manifest.h"
#include "coordinator/storage/settings.h"
#include "tributary/job/job.pb.h"

namespace tributary::coordinator {

// Rows as contributors made them: by the discriminant, or trained.
inline constexpr std::string_view kDiscriminantMode = "discriminant";
inline constexpr std::string_view kTrainedMode = "trained";
// Rows solved from contributors' statistics.
inline constexpr std::string_view kRidgeMode = "ridge";
// Contributors' rows, trained further on public text.
inline constexpr std::string_view kTunedMode = "tuned";

bool IsRouterMode(std::string_view mode);
// A sentence on what speaks against a mode with experts of several domains;
// empty: nothing.
std::string RouterModeCaution(std::string_view mode);
// Whether the rows of a merge are replaced.
bool MakesRouter(std::string_view mode);

// Where everything lies that such a router is made from.
struct RouterMaterial {
  std::filesystem::path anchor;
  // In the order of the release.
  std::vector<std::string> contributions;
  std::vector<std::filesystem::path> experts;
  // For ridge.
  std::vector<std::filesystem::path> statistics;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t top_k = 0;
  std::filesystem::path output;
};

// The job that writes `output`/router.safetensors; ids and paths to be read
// are filled in.
job::Job RouterJob(std::string_view mode, const RouterMaterial& material,
                   const RoutingSettings& settings, const std::string& id);

// What made the rows, as the release manifest lists it.
std::map<std::string, double> RouterSettingsOf(std::string_view mode,
                                               const RoutingSettings& settings);

// The router file of that job: exactly the tensors of the release, finite.
// INTERNAL otherwise, so that no half release becomes visible.
Status CheckRouterFile(const std::filesystem::path& file, int64_t experts,
                       int64_t num_layers, int64_t hidden_size);

}  // namespace tributary::coordinator
