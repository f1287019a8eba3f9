// Writes the sample state with today's schema:
// coordinator_storage_fixture FILE.sqlite (see tests/fixtures/storage).

#include <cstdio>

#include "tests/coordinator/storage/sample_state.h"

int main(int argc, char** argv) {
  using tributary::coordinator::Database;
  if (argc != 2) {
    std::fprintf(stderr, "usage: coordinator_storage_fixture FILE.sqlite\n");
    return 2;
  }
  auto database = Database::Open(argv[1], Database::Mode::kCreate);
  const absl::Status status =
      database.ok()
          ? (*database)->Transact(tributary::coordinator::FillSampleState)
          : database.status();
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
