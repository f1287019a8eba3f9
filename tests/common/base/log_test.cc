#include "common/base/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"

namespace tributary {
namespace {

TEST(Log, EveryLineIsValidJsonWhateverItQuotes) {
  const auto directory = TemporaryDirectory::Create("log");
  ASSERT_TRUE(directory.ok());
  const auto file = directory->path() / "log";
  log::Configure({.component = "test",
                  .file = file.string(),
                  .format = log::Options::Format::kJson});
  log::Info("{}", "quoted \"text\"\\ with\nlines, \x01 and \xff bytes");
  log::Configure({.component = "test"});
  auto content = ReadFile(file);
  ASSERT_TRUE(content.ok()) << content.status();
  ASSERT_EQ(content->back(), '\n');
  content->pop_back();
  const auto line = ParseJson(*content);
  ASSERT_TRUE(line.ok()) << line.status() << *content;
  EXPECT_EQ((*line)["component"], "test");
  EXPECT_EQ((*line)["message"],
            "quoted \"text\"\\ with\nlines, \x01 and \xEF\xBF\xBD bytes");
}

}  // namespace
}  // namespace tributary
