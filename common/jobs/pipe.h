#pragma once

#include "common/base/files.h"
#include "common/base/status.h"

namespace tributary::jobs {

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

// Neither end is inherited by a program that is started.
StatusOr<Pipe> MakePipe();

}  // namespace tributary::jobs
