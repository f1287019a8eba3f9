#pragma once

#include <functional>
#include <new>
#include <utility>

#include "ATen/ATen.h"
#include "common/base/status.h"

namespace tributary::model {

// Runs `body` (returning Status or StatusOr) and turns what LibTorch throws
// into a status: RESOURCE_EXHAUSTED for lack of memory, INTERNAL with the
// first line of the message otherwise.
template <typename Body>
auto CatchTorch(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    return ResourceExhausted("tensor library: {}",
                             error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return Internal("tensor library: {}", error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("tensor library: out of memory");
  } catch (const std::exception& error) {
    return Internal("tensor library: {}", error.what());
  }
}

}  // namespace tributary::model
