#include "common/jobs/frame_pipe.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace tributary::jobs {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr int kPollMilliseconds = 200;

uint32_t ReadLength(std::string_view bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[i]))
              << (8 * i);
  }
  return length;
}

}  // namespace

StatusOr<bool> FrameReader::Fill(size_t wanted, const std::atomic<bool>* stop) {
  std::array<char, 65536> chunk;
  while (buffer_.size() < wanted) {
    pollfd poll_fd = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&poll_fd, 1, stop == nullptr ? -1 : kPollMilliseconds) <= 0) {
      if (stop != nullptr && stop->load()) {
        return false;
      }
      continue;
    }
    const ssize_t got = read(fd_, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    buffer_.append(chunk.data(), static_cast<size_t>(got));
  }
  return true;
}

StatusOr<std::optional<std::string>> FrameReader::Next(
    const std::atomic<bool>* stop) {
  ASSIGN_OR_RETURN(const bool has_length, Fill(kLengthBytes, stop));
  if (!has_length) {
    if (!buffer_.empty() && (stop == nullptr || !stop->load())) {
      return DataLoss("frame: the stream ended within a length");
    }
    return std::nullopt;
  }
  const size_t length = ReadLength(buffer_);
  if (length > kMaxFrameBytes) {
    return InvalidArgument("frame: got {} bytes, wanted at most {}", length,
                           kMaxFrameBytes);
  }
  ASSIGN_OR_RETURN(const bool whole, Fill(kLengthBytes + length, stop));
  if (!whole) {
    if (stop != nullptr && stop->load()) {
      return std::nullopt;
    }
    return DataLoss("frame: the stream ended within a frame of {} bytes",
                    length);
  }
  std::string message = buffer_.substr(kLengthBytes, length);
  buffer_.erase(0, kLengthBytes + length);
  return message;
}

Status FrameWriter::Write(std::string_view message) {
  if (message.size() > kMaxFrameBytes) {
    return InvalidArgument("frame: got {} bytes, wanted at most {}",
                           message.size(), kMaxFrameBytes);
  }
  std::string frame;
  frame.reserve(kLengthBytes + message.size());
  for (size_t i = 0; i < kLengthBytes; ++i) {
    frame += static_cast<char>((message.size() >> (8 * i)) & 0xff);
  }
  frame += message;
  const std::lock_guard lock(mutex_);
  std::string_view rest = frame;
  while (!rest.empty()) {
    const ssize_t written = write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return Unavailable("frame: nobody reads the other end");
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace tributary::jobs
