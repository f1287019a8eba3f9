#include "coordinator/report/page.h"

#include "coordinator/report/picture.h"
#include "fmt/format.h"

namespace tributary::coordinator {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2430;--soft:#5b6675;
--rule:#d3dae2;--tile:#f3f6f9;--accent:#2467a8;--accent-2:#b4540f;
--good:#1d7a48;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#dfe6ee;
--soft:#9aa7b5;--rule:#333e4b;--tile:#1a2029;--accent:#6db1ee;
--accent-2:#f0a35e;--good:#6fcf97;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header{max-width:68rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-top:.8rem;
border-top:1px solid var(--rule)}
p{max-width:46rem;margin:.5rem 0}
a{color:var(--accent)}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:.8rem 0 0;
list-style:none;font-size:.92rem}
code{font:.85em/1.4 ui-monospace,SFMono-Regular,Menlo,monospace;
overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));
gap:.7rem;padding:0;margin:1.2rem 0;list-style:none}
.tiles li{background:var(--tile);border:1px solid var(--rule);
border-radius:.5rem;padding:.7rem .9rem}
.tiles b{display:block;font-size:1.25rem;overflow-wrap:anywhere}
.tiles span{color:var(--soft);font-size:.87rem}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem}
caption{text-align:left;color:var(--soft);padding-bottom:.3rem}
th,td{padding:.32rem .7rem .32rem 0;text-align:left;vertical-align:top;
border-bottom:1px solid var(--rule)}
thead th{font-weight:600;border-bottom-width:2px;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
progress{accent-color:var(--accent);width:8rem;vertical-align:middle}
.when{white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.soft{color:var(--soft)}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.87rem;
max-width:46rem}
figure svg{height:auto}
.notice{border-left:.3rem solid var(--bad);padding:.2rem .9rem;
background:var(--tile)}
footer{max-width:68rem;margin:2rem auto;padding:.8rem 1rem 2rem;
color:var(--soft);font-size:.85rem;border-top:1px solid var(--rule)}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;
--rule:#bbb;--tile:#fff;--accent:#1f5f9e;--accent-2:#a04a0d;--good:#175f38;
--bad:#8f1d17}nav{display:none}.scroll{overflow:visible}
figure,tr,.tiles li{break-inside:avoid}h2{break-after:avoid}
figure svg{max-width:100%}body{font-size:11pt}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)";

}  // namespace

std::string ToHtml(const Page& page) {
  std::string links;
  std::string body;
  for (const PageSection& section : page.sections) {
    links += fmt::format("<li><a href=\"#{}\">{}</a></li>", section.id,
                         EscapeMarkup(section.heading));
    body += fmt::format(
        "<section aria-labelledby=\"{0}\"><h2 id=\"{0}\">{1}</h2>\n{2}"
        "</section>\n",
        section.id, EscapeMarkup(section.heading), section.body);
  }
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,"
      "initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "img-src data:\">\n<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n"
      "<header><h1>{0}</h1>\n{2}<nav aria-label=\"Sections\"><ul>{3}</ul></nav>"
      "</header>\n<main>\n{4}</main>\n<footer>Made by Tributary. This page "
      "loads nothing from the network.</footer>\n</body>\n</html>\n",
      EscapeMarkup(page.title), kStyle, page.lead, links, body);
}

std::string Paragraph(std::string_view text) {
  return "<p>" + EscapeMarkup(text) + "</p>\n";
}

std::string Tiles(const std::vector<Tile>& tiles) {
  std::string out = "<ul class=\"tiles\">";
  for (const Tile& tile : tiles) {
    out += fmt::format("<li><b>{}</b><span>{}</span></li>",
                       EscapeMarkup(tile.value), EscapeMarkup(tile.label));
  }
  return out + "</ul>\n";
}

std::string Table(std::string_view caption,
                  const std::vector<std::string>& head,
                  const std::vector<std::vector<std::string>>& rows,
                  size_t first_number) {
  const auto cell = [&](const char* tag, size_t column, const std::string& text,
                        const char* scope) {
    return fmt::format("<{0}{1}{2}>{3}</{0}>", tag, scope,
                       column >= first_number ? " class=\"number\"" : "", text);
  };
  std::string out = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
      EscapeMarkup(caption));
  for (size_t c = 0; c < head.size(); ++c) {
    out += cell("th", c, EscapeMarkup(head[c]), " scope=\"col\"");
  }
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (size_t c = 0; c < row.size(); ++c) {
      out += c == 0 ? cell("th", c, row[c], " scope=\"row\"")
                    : cell("td", c, row[c], "");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string Figure(std::string_view svg, std::string_view caption) {
  return fmt::format(
      "<figure><div class=\"scroll\" tabindex=\"0\" role=\"group\" "
      "aria-label=\"{1}\">{0}</div><figcaption>{1}</figcaption></figure>\n",
      svg, EscapeMarkup(caption));
}

std::string BulletList(const std::vector<std::string>& items) {
  std::string out = "<ul>";
  for (const std::string& item : items) {
    out += "<li>" + EscapeMarkup(item) + "</li>";
  }
  return out + "</ul>\n";
}

std::string Millions(int64_t parameters) {
  return fmt::format("{:.1f} M", static_cast<double>(parameters) / 1e6);
}

}  // namespace tributary::coordinator
