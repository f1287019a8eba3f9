// Files go both ways between this library and the safetensors package.

#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::safetensors {
namespace {

using ::testing::ElementsAre;

// Runs a script with the folder as its argument; true when it succeeds.
bool RunPython(const std::filesystem::path& folder, const std::string& script) {
  const auto path = folder / "script.py";
  if (!WriteFileAtomic(path, script).ok()) {
    return false;
  }
  const std::string command = std::string(TRIBUTARY_PYTHON) + " " +
                              path.string() + " " + folder.string();
  return std::system(command.c_str()) == 0;
}

TEST(Python, ReadsOurFiles) {
  const auto folder = TemporaryDirectory::Create("python");
  ASSERT_TRUE(folder.ok());
  const std::vector<float> values = {1.0f, -2.0f, 0.5f, 3.0f};
  std::vector<std::byte> half(8);
  ASSERT_TRUE(FromFloat32(values, DType::kF16, half).ok());
  const std::vector<int64_t> ids = {7, -9};
  const float bias = 0.25f;
  ASSERT_TRUE(
      WriteFile(
          folder->path() / "ours.safetensors",
          {{{"half", DType::kF16, {2, 2}}, half},
           {{"full", DType::kF32, {4, 1}}, std::as_bytes(std::span(values))},
           {{"ids", DType::kI64, {2}}, std::as_bytes(std::span(ids))},
           {{"naïve \"name\"\n", DType::kF32, {}},
            std::as_bytes(std::span(&bias, 1))}},
          {.metadata = {{"format", "pt"}, {"näme", "a\tb"}}})
          .ok());
  EXPECT_TRUE(RunPython(folder->path(), R"(
import sys
from safetensors import safe_open
with safe_open(sys.argv[1] + "/ours.safetensors", "np") as f:
    assert f.metadata() == {"format": "pt", "näme": "a\tb"}, f.metadata()
    assert sorted(f.keys()) == sorted(
        ["half", "full", "ids", 'naïve "name"\n']), list(f.keys())
    assert f.get_tensor("half").tolist() == [[1.0, -2.0], [0.5, 3.0]]
    assert f.get_tensor("half").dtype == "float16"
    assert f.get_tensor("full").tolist() == [[1.0], [-2.0], [0.5], [3.0]]
    assert f.get_tensor("ids").tolist() == [7, -9]
    assert f.get_tensor('naïve "name"\n').tolist() == 0.25
)"));
}

TEST(Python, WritesFilesForUs) {
  const auto folder = TemporaryDirectory::Create("python");
  ASSERT_TRUE(folder.ok());
  ASSERT_TRUE(RunPython(folder->path(), R"(
import sys
import numpy
from safetensors.numpy import save_file
save_file({"é": numpy.array([1.5, -2.5], numpy.float32),
           "a": numpy.arange(6, dtype=numpy.int64).reshape(2, 3),
           "b": numpy.array([True, False, True]),
           "d": numpy.array(0.125, numpy.float64),
           "none": numpy.zeros((0, 4), numpy.float16)},
          sys.argv[1] + "/theirs.safetensors", metadata={"format": "np"})
)"));
  const auto file = File::Open(folder->path() / "theirs.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 5u);
  EXPECT_EQ((*file)->metadata().at("format"), "np");
  EXPECT_THAT(*(*file)->ReadFloats("é"), ElementsAre(1.5f, -2.5f));
  EXPECT_THAT(*(*file)->ReadFloats("d"), ElementsAre(0.125f));
  EXPECT_EQ((*file)->Find("a")->shape, Shape({2, 3}));
  EXPECT_EQ((*file)->Find("a")->dtype, DType::kI64);
  EXPECT_EQ((*file)->Find("b")->dtype, DType::kBool);
  EXPECT_EQ((*file)->Find("none")->shape, Shape({0, 4}));
}

}  // namespace
}  // namespace tributary::safetensors
