#include "common/jobs/frame_pipe.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "common/base/files.h"

namespace tributary::jobs {
namespace {

class FramePipeTest : public ::testing::Test {
 protected:
  FramePipeTest() {
    signal(SIGPIPE, SIG_IGN);
    std::array<int, 2> ends = {};
    EXPECT_EQ(pipe(ends.data()), 0);
    read_end_ = FileDescriptor(ends[0]);
    write_end_ = FileDescriptor(ends[1]);
  }
  void WriteRaw(const std::string& bytes) {
    ASSERT_EQ(write(write_end_.get(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }

  FileDescriptor read_end_;
  FileDescriptor write_end_;
};

TEST_F(FramePipeTest, FramesOfAnySizeArriveWholeAndInOrder) {
  const std::vector<std::string> sent = {"one", "", std::string(3 << 20, 'x'),
                                         std::string("\0\n", 2)};
  std::thread writer([&] {
    FrameWriter frames(write_end_.get());
    for (const std::string& message : sent) {
      EXPECT_TRUE(frames.Write(message).ok());
    }
    write_end_ = FileDescriptor();
  });
  FrameReader reader(read_end_.get());
  for (const std::string& message : sent) {
    const auto frame = reader.Next();
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_TRUE(*frame == message);
  }
  EXPECT_FALSE(reader.Next()->has_value());
  writer.join();
}

TEST_F(FramePipeTest, AStreamThatEndsWithinAFrameIsDataLoss) {
  WriteRaw(std::string("\5\0\0\0ab", 6));
  write_end_ = FileDescriptor();
  EXPECT_TRUE(absl::IsDataLoss(FrameReader(read_end_.get()).Next().status()));
}

TEST_F(FramePipeTest, AStreamThatEndsWithinALengthIsDataLoss) {
  WriteRaw(std::string("\5\0", 2));
  write_end_ = FileDescriptor();
  EXPECT_TRUE(absl::IsDataLoss(FrameReader(read_end_.get()).Next().status()));
}

TEST_F(FramePipeTest, FramesAreBounded) {
  WriteRaw("\xff\xff\xff\xff");
  EXPECT_TRUE(
      absl::IsInvalidArgument(FrameReader(read_end_.get()).Next().status()));
}

TEST_F(FramePipeTest, AReaderCanBeStopped) {
  std::atomic<bool> stop{true};
  const auto frame = FrameReader(read_end_.get()).Next(&stop);
  ASSERT_TRUE(frame.ok());
  EXPECT_FALSE(frame->has_value());
}

TEST_F(FramePipeTest, WritingToNobodyIsUnavailable) {
  read_end_ = FileDescriptor();
  EXPECT_TRUE(
      absl::IsUnavailable(FrameWriter(write_end_.get()).Write("message")));
}

}  // namespace
}  // namespace tributary::jobs
