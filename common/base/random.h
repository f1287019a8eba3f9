#pragma once

#include <cstddef>
#include <string>

namespace tributary {

// `size` bytes from the operating system's cryptographic generator.
std::string RandomBytes(size_t size);

// A random version 4 UUID, lower case.
std::string RandomUuid();

}  // namespace tributary
