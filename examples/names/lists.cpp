#include "examples/names/lists.h"

#include <set>

#include "examples/data/symbols.h"

namespace reel::examples {

namespace {

struct Language {
  const char *name, *surnames;
};

// Common surnames of each language.
constexpr Language languages[] = {
    {"Greek",
     "Papadopoulos Papadakis Georgiou Dimitriou Nikolaidis Konstantinou Ioannou Vasiliou Makris Pappas "
     "Karagiannis Vlachos Oikonomou Antoniou Athanasiou Christodoulou Alexopoulos Panagopoulos Stavropoulos "
     "Theodorou Katsaros Mitropoulos Angelopoulos Giannopoulos Kyriakidis Michailidis Samaras Koutsoukos "
     "Lambropoulos Anagnostopoulos Zervas Petridis Stathopoulos Kalogeropoulos Spanos Tsoukalas Apostolou "
     "Raptis Hatzidakis Economopoulos"},
    {"Italian",
     "Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti Mancini Costa "
     "Giordano Rizzo Lombardi Moretti Barbieri Fontana Santoro Mariani Rinaldi Caruso Ferrara Galli Martini "
     "Leone Longo Gentile Martinelli Vitale Lombardo Serra Coppola Marchetti Parisi Villa Bellini"},
    {"Japanese",
     "Sato Suzuki Takahashi Tanaka Watanabe Ito Yamamoto Nakamura Kobayashi Kato Yoshida Yamada Sasaki "
     "Yamaguchi "
     "Matsumoto Inoue Kimura Hayashi Shimizu Yamazaki Mori Abe Ikeda Hashimoto Yamashita Ishikawa Nakajima "
     "Maeda Fujita Ogawa Goto Okada Hasegawa Murakami Kondo Ishii Saito Sakamoto Endo Aoki"},
    {"Polish",
     "Nowak Kowalski Wisniewski Wojcik Kowalczyk Kaminski Lewandowski Zielinski Szymanski Wozniak Dabrowski "
     "Kozlowski Jankowski Mazur Wojciechowski Kwiatkowski Krawczyk Kaczmarek Piotrowski Grabowski Zajac "
     "Pawlowski Michalski Krol Wieczorek Jablonski Wrobel Nowakowski Majewski Olszewski Stepien Malinowski "
     "Jaworski Adamczyk Dudek Nowicki Pawlak Gorski Witkowski Walczak"},
    {"German",
     "Mueller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schaefer Koch Bauer "
     "Richter "
     "Klein Wolf Schroeder Neumann Schwarz Zimmermann Braun Krueger Hofmann Hartmann Lange Schmitt Werner "
     "Krause Meier Lehmann Schmid Schulze Maier Koehler Herrmann Walter Koenig Kaiser Fuchs Scholz"},
    {"Vietnamese",
     "Nguyen Tran Le Pham Hoang Huynh Phan Vu Vo Dang Bui Do Ho Ngo Duong Ly Dinh Doan Trinh Truong Lam Mai "
     "Dao "
     "Cao Luong Luu Thai Chau Ta Phung Quach Tang Khuat Nghiem Trieu Thach Vuong Kieu Giang Ninh"},
};

void add(NameLists& to, const std::string& name, int64_t label) {
  to.names.push_back(name);
  to.labels.push_back(label);
}

}  // namespace

NameLists embedded_names() {
  NameLists lists;
  for (const Language& language : languages) {
    for (const std::string& name : blank_separated(language.surnames)) {
      add(lists, name, static_cast<int64_t>(lists.classes.size()));
    }
    lists.classes.emplace_back(language.name);
  }
  return lists;
}

NameSplit split_names(const NameLists& all, std::size_t every) {
  NameSplit split;
  split.train.classes = split.test.classes = all.classes;
  std::set<std::pair<int64_t, std::string>> seen;
  std::vector<std::size_t> count(all.classes.size());
  for (std::size_t k = 0; k < all.names.size(); ++k) {
    if (!seen.emplace(all.labels[k], all.names[k]).second) continue;
    const bool held_out = count[static_cast<std::size_t>(all.labels[k])]++ % every == every - 1;
    add(held_out ? split.test : split.train, all.names[k], all.labels[k]);
  }
  return split;
}

}  // namespace reel::examples
