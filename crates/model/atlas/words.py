"""The closed world of the atlas models: its facts and its words.

The facts are plain general knowledge. A country is here only if its name and its capital are one word each and the
capital is undisputed; a language or continent is `None` where the answer is not a single obvious one (several
official languages, a country on two continents), and such a fact is then never asked for.
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    name: str
    capital: str
    language: str | None
    continent: str | None


_EUROPE = """France Paris French|Germany Berlin German|Spain Madrid Spanish|Portugal Lisbon Portuguese
Italy Rome Italian|Greece Athens Greek|Austria Vienna German|Poland Warsaw Polish|Hungary Budapest Hungarian
Romania Bucharest Romanian|Bulgaria Sofia Bulgarian|Serbia Belgrade Serbian|Croatia Zagreb Croatian
Slovenia Ljubljana Slovenian|Slovakia Bratislava Slovak|Czechia Prague Czech|Denmark Copenhagen Danish
Sweden Stockholm Swedish|Norway Oslo Norwegian|Finland Helsinki Finnish|Iceland Reykjavik Icelandic
Estonia Tallinn Estonian|Latvia Riga Latvian|Lithuania Vilnius Lithuanian|Ukraine Kyiv Ukrainian
England London English|Ireland Dublin -|Belgium Brussels -|Switzerland Bern -|Albania Tirana Albanian
Moldova Chisinau Romanian|Malta Valletta -|Montenegro Podgorica -|Belarus Minsk -|Liechtenstein Vaduz German"""

_ASIA = """China Beijing Chinese|Japan Tokyo Japanese|Mongolia Ulaanbaatar Mongolian|Vietnam Hanoi Vietnamese
Thailand Bangkok Thai|Laos Vientiane Lao|Myanmar Naypyidaw Burmese|Indonesia Jakarta Indonesian
Pakistan Islamabad Urdu|Bangladesh Dhaka Bengali|Nepal Kathmandu Nepali|Bhutan Thimphu Dzongkha
Afghanistan Kabul -|Iran Tehran Persian|Iraq Baghdad Arabic|Syria Damascus Arabic|Lebanon Beirut Arabic
Jordan Amman Arabic|Yemen Sanaa Arabic|Oman Muscat Arabic|Qatar Doha Arabic|Bahrain Manama Arabic
Uzbekistan Tashkent Uzbek|Kazakhstan Astana Kazakh|Kyrgyzstan Bishkek Kyrgyz|Tajikistan Dushanbe Tajik
Turkmenistan Ashgabat Turkmen"""

_AFRICA = """Egypt Cairo Arabic|Libya Tripoli Arabic|Tunisia Tunis Arabic|Algeria Algiers Arabic
Morocco Rabat Arabic|Sudan Khartoum Arabic|Mauritania Nouakchott Arabic|Eritrea Asmara -|Somalia Mogadishu Somali
Kenya Nairobi Swahili|Uganda Kampala -|Tanzania Dodoma Swahili|Rwanda Kigali -|Zambia Lusaka English
Zimbabwe Harare -|Malawi Lilongwe -|Mozambique Maputo Portuguese|Angola Luanda Portuguese|Namibia Windhoek -
Botswana Gaborone -|Lesotho Maseru -|Madagascar Antananarivo Malagasy|Ghana Accra English|Nigeria Abuja English
Togo Lome French|Niger Niamey -|Mali Bamako -|Senegal Dakar French|Guinea Conakry French|Liberia Monrovia English
Gabon Libreville French|Cameroon Yaounde -"""

_SOUTH_AMERICA = """Chile Santiago Spanish|Peru Lima Spanish|Colombia Bogota Spanish|Ecuador Quito Spanish
Venezuela Caracas Spanish|Uruguay Montevideo Spanish|Paraguay Asuncion Spanish|Brazil Brasilia Portuguese
Guyana Georgetown English|Suriname Paramaribo Dutch"""

_NORTH_AMERICA = """Canada Ottawa -|Cuba Havana Spanish|Jamaica Kingston English|Honduras Tegucigalpa Spanish
Nicaragua Managua Spanish|Barbados Bridgetown English|Belize Belmopan English|Dominica Roseau English"""

_OCEANIA = "Australia Canberra English|Fiji Suva -|Samoa Apia Samoan"

# Countries on two continents, or whose continent is a matter of taste: the continent is never asked for.
_BETWEEN = """Russia Moscow Russian|Turkey Ankara Turkish|Georgia Tbilisi Georgian|Armenia Yerevan Armenian
Azerbaijan Baku Azerbaijani|Cyprus Nicosia -"""


def _parse(block: str, continent: str | None) -> list[Country]:
    rows = [row.split() for line in block.splitlines() for row in line.split("|")]
    return [Country(c, cap, None if lang == "-" else lang, continent) for c, cap, lang in rows]


COUNTRIES: list[Country] = (
    _parse(_EUROPE, "Europe")
    + _parse(_ASIA, "Asia")
    + _parse(_AFRICA, "Africa")
    + _parse(_SOUTH_AMERICA, "South America")
    + _parse(_NORTH_AMERICA, "North America")
    + _parse(_OCEANIA, "Oceania")
    + _parse(_BETWEEN, None)
)

FEMALE = """Mary Anna Alice Emma Sarah Laura Julia Kate Jane Lucy Emily Grace Helen Susan Linda Karen Nancy Betty
Ruth Diana Clara Eva Nina Rosa Maria Martha Olivia Sophie Chloe Amy Lily Rachel Rebecca Hannah Jessica Amanda
Michelle Lisa Angela Julie Ellen Alison Megan Claire Nora Irene Elsa Judith Monica Tina""".split()

MALE = """John Tom James Paul Peter David Mark Robert Michael Daniel George Henry Frank Jack Simon Kevin Brian
Steven Eric Adam Andrew Martin Philip Oscar Leo Hugo Felix Max Victor Arthur Walter Ralph Carl Edward Thomas
William Charles Richard Joseph Anthony Patrick Samuel Benjamin Nathan Lucas Ryan Jason Justin Scott Alan""".split()

NAMES = FEMALE + MALE

PLACES = """store park school office garden market library station museum beach restaurant hospital bakery theatre
church hotel farm river lake castle bank gym kitchen cafe harbour zoo factory village bridge square""".split()

# Objects start with a consonant sound, so that "a" is always right.
OBJECTS = """drink book ring letter key lamp basket necklace ball map ticket flower kite cake coin pen phone hat
watch guitar camera bag box cup knife blanket toy pencil bottle present sandwich photo bone computer ruler""".split()

# Nouns for agreement: (singular, plural). The last ten are persons and also head relative clauses.
NOUNS: list[tuple[str, str]] = [
    (w, w + "s")
    for w in """key cabinet book letter door picture chair table window lamp cup plate shelf-shelves drawer wall roof
    gate road tree flower star cloud boat ship train car wheel engine machine painting mirror carpet curtain pillow
    coat shirt shoe button basket bottle stone hill tower bridge clock bell candle drum violin
    boy girl farmer teacher doctor driver singer king queen friend""".split()
    if "-" not in w
] + [("shelf", "shelves"), ("box", "boxes"), ("bench", "benches"), ("knife", "knives")]
PERSONS = {"boy", "girl", "farmer", "teacher", "doctor", "driver", "singer", "king", "queen", "friend"}
# Persons of either sex.
ROLES = "teacher doctor driver farmer singer friend".split()

PREPOSITIONS = ["to", "near", "behind", "beside", "under", "above", "with", "from", "by", "next to", "in front of",
                "on", "in", "of", "inside", "around"]

# What a person did to a thing, in relative clauses.
RELATIVE = "bought found lost saw liked wanted painted carried took made".split()

# Verb pairs (singular, plural) that may follow the subject, with their weight and what follows them.
VERBS: list[tuple[str, str, int, str]] = [
    ("is", "are", 50, ""),
    ("was", "were", 20, ""),
    ("has", "have", 10, "been "),
    ("looks", "look", 10, ""),
    ("seems", "seem", 10, ""),
]

ADJECTIVES = """old new red blue green white black small large heavy light clean dirty cold warm quiet bright dark
beautiful famous broken lost strange empty tall short soft strong pretty cheap""".split()

FEELINGS = "happy tired hungry sad angry late busy sick ready proud thirsty bored".split()

EVENTS = """war siege voyage strike plague drought festival rebellion journey trial truce project expedition crisis
dispute reign campaign famine flood alliance dynasty march quarrel feud boycott occupation migration mission
construction repair""".split()

# Words that only the induction sequences use: the more distinct words, the less is looked up.
EXTRA = """apple banana cherry lemon orange grape melon peach plum carrot onion potato tomato pepper garlic bread
butter cheese milk sugar salt honey soup rice bean corn wheat tiger lion bear wolf fox rabbit mouse horse cow sheep
goat pig duck goose hen eagle hawk crow swan frog snake spider bee ant whale shark salmon turtle camel monkey
elephant forest desert island valley mountain ocean beach cave cliff field meadow swamp storm thunder rain snow wind
fog ice fire smoke ash dust sand mud iron gold silver copper glass paper wood leather silk wool cotton rope nail
hammer saw drill shovel ladder bucket brush soap towel comb needle thread wing feather claw tail horn bone skin
heart hand foot finger shoulder knee elbow nose mouth ear tooth hair circle triangle line point corner edge middle
summer winter spring autumn monday friday sunday january march october velvet copper marble canyon harvest lantern
anchor barrel compass helmet shield sword arrow crown throne palace temple statue fountain orchard pepper walnut
almond ginger saffron violet crimson amber ivory jade pearl ruby opal topaz planet comet rocket signal mirror puzzle
riddle poem novel chapter sentence letter number fraction vector magnet prism lever pulley spring""".split()

POOL: list[str] = sorted(
    set(EXTRA)
    | set(PLACES)
    | set(OBJECTS)
    | {w for pair in NOUNS for w in pair}
    | set(ADJECTIVES)
    | set(FEELINGS)
    | set(EVENTS)
    | set(NAMES)
    | {c.name for c in COUNTRIES}
    | {c.capital for c in COUNTRIES}
    | {c.language for c in COUNTRIES if c.language}
)
"""Every word a random sequence may hold; each is one token with a leading space."""

LANGUAGES = sorted({c.language for c in COUNTRIES if c.language})
