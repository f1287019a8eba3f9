#include "contributor/client/copies.h"

#include <set>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/statement.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// {"releases/1": ["/path", ...]}
fs::path CopiesFile(const Home& home) {
  return home.Releases() / "copies.json";
}

StatusOr<Json> LoadCopies(const Home& home) {
  const StatusOr<std::string> text = ReadFile(CopiesFile(home), 16 << 20);
  if (absl::IsNotFound(text.status())) {
    return Json::object();
  }
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(Json copies, ParseJson(*text));
  if (!copies.is_object()) {
    return InvalidArgument("{}: wanted a JSON object",
                           CopiesFile(home).string());
  }
  return copies;
}

std::set<fs::path> CopiesOf(const Home& home, const Json& recorded,
                            const std::string& release) {
  std::set<fs::path> copies;
  const StatusOr<int64_t> number = manifest::ParseReleaseName(release);
  if (number.ok()) {
    copies.insert(home.Releases() / std::to_string(*number));
  }
  if (recorded.contains(release) && recorded[release].is_array()) {
    for (const Json& path : recorded[release]) {
      if (path.is_string()) {
        copies.insert(path.get<std::string>());
      }
    }
  }
  return copies;
}

// True when the folder still holds that release.
bool Holds(const fs::path& directory, const std::string& release) {
  const auto envelope = ReadFile(directory / "release.dsse.json", 64 << 20);
  if (!envelope.ok()) {
    return false;
  }
  const auto statement =
      manifest::ReadStatementUnverified(*envelope, manifest::kReleaseKind);
  return statement.ok() && statement->subjects.size() == 1 &&
         statement->subjects[0].name == release;
}

}  // namespace

Status RecordCopy(const Home& home, const std::string& release,
                  const fs::path& directory) {
  RETURN_IF_ERROR(MakeDirectories(home.Releases()));
  ASSIGN_OR_RETURN(const FileLock lock,
                   FileLock::Acquire(CopiesFile(home).string() + ".lock"));
  ASSIGN_OR_RETURN(Json copies, LoadCopies(home));
  Json& list = copies[release];
  if (!list.is_array()) {
    list = Json::array();
  }
  const std::string path = directory.string();
  for (const Json& known : list) {
    if (known == path) {
      return absl::OkStatus();
    }
  }
  list.push_back(path);
  ASSIGN_OR_RETURN(const std::string text, DumpJson(copies, 2));
  return WriteFileAtomic(CopiesFile(home), text);
}

StatusOr<std::vector<fs::path>> MarkWithdrawnCopies(
    const Home& home, const std::vector<v1::Release>& releases) {
  ASSIGN_OR_RETURN(const Json recorded, LoadCopies(home));
  std::vector<fs::path> marked;
  for (const v1::Release& release : releases) {
    if (release.state() != v1::Release::WITHDRAWN) {
      continue;
    }
    for (const fs::path& copy : CopiesOf(home, recorded, release.name())) {
      std::error_code error;
      if (fs::exists(copy / kWithdrawnFile, error) ||
          !Holds(copy, release.name())) {
        continue;
      }
      RETURN_IF_ERROR(WriteFileAtomic(
          copy / kWithdrawnFile,
          fmt::format("{} was withdrawn ({}). "
                      "Stop using this copy and delete it; `release fetch` "
                      "gets the present one.\n",
                      release.name(),
                      release.reason().empty() ? "an expert in it opted out"
                                               : release.reason())));
      marked.push_back(copy);
    }
  }
  return marked;
}

}  // namespace tributary::contributor
