#include "common/base/log.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace tributary::log {
namespace {

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger>& Logger() {
  static auto logger = std::make_shared<spdlog::logger>(
      "tributary", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  return logger;
}

// The text of a JSON string without its quotes. Bytes that are not UTF-8 become
// U+FFFD, so that a line is valid whatever it quotes.
std::string EscapeJson(std::string_view text) {
  const std::string quoted = nlohmann::json(text).dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

bool json_format = false;

}  // namespace

void Configure(const Options& options) {
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
  }
  auto logger = std::make_shared<spdlog::logger>(options.component, sink);
  json_format = options.format == Options::Format::kJson;
  logger->set_pattern(json_format
                          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",)"
                            R"("component":"%n","message":"%v"})"
                          : "%Y-%m-%dT%H:%M:%S.%eZ %l %n: %v",
                      spdlog::pattern_time_type::utc);
  logger->set_level(ToSpdlog(options.level));
  logger->flush_on(spdlog::level::info);
  Logger() = std::move(logger);
}

void Write(Level level, std::string_view message) {
  if (json_format) {
    Logger()->log(ToSpdlog(level), EscapeJson(message));
    return;
  }
  Logger()->log(ToSpdlog(level), message);
}

}  // namespace tributary::log
