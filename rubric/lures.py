"""Patterns that tell a lure live here: what is said to machines, in the words and the marks that such texts use. General language; no tenant's terms."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lure:
    """One way of speaking to a machine. It is looked for only where one of its stems stands, which is quick to see."""

    stems: tuple[str, ...]
    """lower case"""
    pattern: re.Pattern[str]


def _lure(stems: str, *parts: str) -> Lure:
    return Lure(tuple(stems.split()), re.compile("|".join(parts), re.IGNORECASE | re.MULTILINE))


_GAP = r"[^.!?\n]{0,60}?"
_IGNORE = (
    r"(?:ignore|disregard|forget|override|bypass|ignorier\w*|missacht\w*|vergiss|vergesst|vergessen sie|überschreib\w*"
    r"|ignora|ignorad|ignoren|ignorez|ignorare|oublie|oubliez|olvida|dimentica|negeer|vergeet|zignoruj|zapomnij|игнорируй(?:те)?|забудь(?:те)?)"
)
_EARLIER = (
    r"(?:all|any|every|previous|prior|preceding|above|earlier|former|your|system|these|alle\w*|bisherige\w*|vorherige\w*|vorige\w*|obige\w*|deine\w*|ihre"
    r"|sämtliche\w*|todas|anteriores|previas|toutes|précédentes|tutte|precedenti|alle|vorige|wszystkie|poprzednie|все|предыдущие)"
)
_RULES = (
    r"(?:instructions?|directives?|prompts?|guidelines?|rules|constraints|anweisung\w*|vorgaben?|regeln|richtlinien|instrucciones|instruções"
    r"|instructions|consignes|istruzioni|instructies|instrukcje|polecenia|инструкции|указания)"
)
_MACHINE = r"(?:ai|llms?|language models?|chatbot|critic|ki|sprachmodelle?|ia|ии|(?:ai|automated|automatic) (?:systems?|agents?|reviewers?|assistants?|pipelines?|triage))"
_TOLD = r"(?:note|message|instructions?|attention|order|hinweis|nachricht|anweisung|achtung)"
_HANDS = r"(?:hints?|pulls?|pull requests?|prs?|merge requests?|change|changes|patch(?:es)?|suggestions?|proposals?|fix(?:es)?|draft)"
_SECRETS = (
    r"(?:api[ _-]?keys?|secret[ _-]?keys?|environment variables?|env vars?|private keys?|ssh[ _-]keys?|access[ _-]tokens?|github[ _-]tokens?|\.env\b"
    r"|/etc/passwd|your (?:\w+ ){0,2}(?:prompt|instructions)|umgebungsvariablen?|api-?schlüssel|deine[nr]? (?:\w+ ){0,2}(?:prompt|anweisungen))"
)
ORDERS: tuple[Lure, ...] = (
    _lure(
        "ignor disregard forget override bypass missacht verg überschreib oubli olvida dimentica negeer zapomnij забудь игнор",
        rf"\b{_IGNORE}\b{_GAP}\b{_EARLIER}\b{_GAP}\b{_RULES}\b",
        rf"\b(?:anweisungen|vorgaben|regeln)\b{_GAP}\b(?:ignorier\w*|vergess\w*|missacht\w*)",
        rf"\b{_IGNORE} (?:everything|all|anything|alles)\b{_GAP}\b(?:above|before|previous\w*|earlier|said|told|oben|bisher\w*|vorher\w*|zuvor|gesagt\w*)\b",
        rf"\b{_IGNORE} (?:the above|what (?:is|was|stands) (?:above|before)|obiges|das obige)\b|\bvergiss alles\b",
    ),
    _lure(
        "follow obey comply folge folg repeat",
        r"\b(?:follow|obey) (?:only )?(?:these|my|the following) (?:new )?(?:instructions?|orders?|commands?|steps exactly)\b|\byou (?:must|have to|will) (?:now )?(?:comply|obey)\b",
        r"\bbe?folgen? (?:sie )?(?:nur )?(?:diesen?|meinen?|den folgenden|folgenden?) anweisungen\b|\brepeat after me\b",
    ),
    _lure("developer admin creator entwickler", r"\b(?:i am|i'm|this is|speaking as|as|ich bin) (?:your|dein\w*) (?:system )?(?:developer|admin\w*|creator|entwickler\w*)\b"),
    _lure(
        "customer database kunden datenbank",
        rf"\b(?:send|e?-?mail|forward|export|dump|upload|post|leak|list|print|show|sende|schicke?|exportiere|zeige?|liste)\b{_GAP}\b(?:(?:all|every|other) (?:the |your )?customers?\b|customer (?:records|data|list|database)"
        r"|the (?:whole |entire |customer )?database|aller? kunden\w*|andere\w* kunden|kundendaten\w*|(?:die|der) (?:ganze )?datenbank)",
    ),
    _lure(
        "delete remove drop disable wipe lösch entfern deaktivier",
        r"\b(?:delete|remove|drop|disable|wipe|turn off|lösche?|entferne?|deaktiviere?) (?:all|every|alle|sämtliche) (?:the |of the |\w+ )?(?:tests?|evals?|rules|templates|polic(?:y|ies)|checks|guardrails|filters?|regeln|vorlagen|prüfungen|tests)\b",
        r"\b(?:delete|remove|drop|disable|wipe|turn off) (?:the )?(?:tests|evals?|checks|guardrails?|safety \w+|content filters?)\b",
    ),
    _lure("confidence risk verdict", r"\bset (?:the |your )?(?:confidence|risk|verdict)\b[^.!?\n]{0,15}\b(?:to|=|as)\b|\bverdict\s*[:=]\s*\w+"),
    _lure("talimat 指令 指示 命令 提示", r"talimat\w*[^.!?\n]{0,30}(?:yok say|unut|görmezden)", "(?:忽略|无视|忘记).{0,16}(?:指令|指示|提示)", "(?:指示|命令|指令).{0,12}(?:無視|忘れ)"),
    _lure(
        "you du sie tu ahora now jetzt",
        r"\byou are now (?:an? |the |in |my )?(?:\w+ ){0,3}(?:assistants?|ai|bot|agent|model|mode|admin\w*|developer|root|critic|reviewer|unrestricted|free)\b",
        r"\bfrom now on,? you (?:are|act|answer|respond|reply|obey|output)\b",
        r"\bdu bist (?:jetzt|nun|ab sofort|ab jetzt)\b|\b(?:ab jetzt|von nun an|ab sofort) (?:bist du|antwortest du|handelst du)\b",
        r"\bahora eres (?:un|una|el|la)\b|\btu es (?:maintenant|désormais)\b|\bora sei (?:un|una|il)\b",
    ),
    _lure(
        "act behave pretend respond answer roleplay verhalt agier handle antworte",
        r"\b(?:act|behave|respond|answer) (?:as|like) (?:if you (?:are|were) )?(?:an? |the |my )(?:\w+ ){0,3}"
        r"(?:assistant|ai|bot|model|admin\w*|developer|root|system|engineer|critic|gatekeeper|reviewer|approver|terminal|shell)\b",
        r"\bpretend (?:to be|you are|that you are)\b|\brole-?play\b",
        r"\b(?:verhalte dich|agiere|handle|antworte) (?:wie|als) (?:ein\w* |der |die )?(?:\w+ ){0,2}(?:assistent|ki|bot|admin\w*|entwickler|system|modell|prüfer)\b",
    ),
    _lure(
        "prompt mode modus jailbreak prompt-injection",
        r"\bsystem[ _-]?prompt\b|\bdeveloper mode\b|\bentwicklermodus\b|\bdan mode\b|\bjailbreak\w*|\bprompt[ -]injection\b",
    ),
    _lure("as als en tant", r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|llm)\b|\bals (?:ki|sprachmodell|künstliche intelligenz)\b"),
    _lure(
        "ai llm model critic ki sprachmodell chatbot bot assistant agent automat",
        rf"\b{_TOLD} (?:to|for|an|für) (?:the |any |every |all |die |das |den )?(?:bots?|assistants?|agents?|assistenten|machine|maschine)\b",
        rf"\b(?:dear|hey|hello|hi|attention|note to|message (?:to|for)|instructions? (?:to|for)|hinweis (?:an|für)|achtung|hallo|an) ?,?:? ?(?:the |any |every |die |das |den )?{_MACHINE}\b ?(?:[,:!.]|model|system|assistant|that|which|die|das|reading|processing|who)",
        rf"\bif (?:you are|this is read by|you're) an? {_MACHINE}\b|\bfalls du eine? {_MACHINE}\b|\bwenn du eine? {_MACHINE}\b",
    ),
    _lure(
        "approve merge genehmig bestätig approved confirmed review freigeb aprueba approuve",
        rf"\b(?:auto-?approve|approve|merge|ship) (?:this|that|the|all|it|every|any|these)\b(?: \w+){{0,2}} {_HANDS}\b",
        r"\bapprove this(?:\s*[.!]|\s*$| now\b| immediately\b| automatically\b| without\b)|\bauto-?approve\b",
        r"\bmark (?:this|it|the \w+) as (?:approved|confirmed|accepted|reviewed|safe)\b",
        r"\b(?:skip|bypass|disable|omit) (?:the |all |any |every )?(?:human )?(?:reviews?|evals?|checks|gates?|gatekeeper|tests|lint)\b|\bwithout (?:any )?(?:human )?review\b",
        r"\b(?:already|pre-?)[ -]?approved by (?:the |an? |our )?(?:admin\w*|security|gatekeeper|engineering|developers?|owner)\b",
        r"\b(?:genehmige|bestätige|merge|übernimm) (?:diese\w*|den|die|das|alle) (?:\w+ ){0,2}(?:hinweis\w*|hint|änderung\w*|vorschlag|vorschläge|pull\w*)",
        r"\bohne (?:menschliche )?(?:prüfung|freigabe) (?:übernehmen|mergen|bestätigen|einspielen)\b",
    ),
    _lure(
        "tell mention reveal report inform warn show sag erzähl verrat meld erwähn",
        r"\b(?:do not|don't|never) (?:tell|mention|show|reveal|report|inform|warn)\b[^.!?\n]{0,40}\b(?:the )?"
        r"(?:reviewers?|gatekeepers?|operators?|developers?|admin\w*|humans?|anyone|anybody|these instructions|this instruction)\b",
        r"\b(?:sag|sage|erzähle?|verrate?|melde|zeige?|erwähne)\b[^.!?\n]{0,30}\b(?:niemandem|keinem menschen|dem prüfer|den prüfern|diese anweisung\w*)\b",
    ),
    _lure(
        "execute run eval invoke führ ausführ ejecuta exécute",
        r"\b(?:execute|run|invoke|eval) (?:(?:the|this|these|following|next|my) )+(?:following\b|commands?|scripts?|shell|code|sql|bash|python|instructions?)",
        r"\b(?:execute|run) the following\b|\bführe?n? (?:sie )?(?:(?:den|die|das|diesen|dieses|folgende\w*|bitte) )+(?:befehl\w*|skript|kommando|code|anweisung\w*)",
        r"\bejecuta (?:el|la|los|este) (?:comando|código|script)|\bexécutez? (?:la|le|cette) (?:commande|code|script)",
    ),
    _lure(
        "respond reply answer output return antworte gib",
        r"\b(?:respond|reply|answer|output|return|antworte)\b[^.!?\n]{0,20}\b(?:only|exactly|nur|ausschließlich)\b[^.!?\n]{0,20}(?:\bjson\b|[\"'`{]|\bthe (?:word|following|string)\b|\bdem wort\b|\bfolgend\w*)",
    ),
    _lure(
        "key env token passwd prompt instructions variable schlüssel anweisungen",
        rf"\b(?:print|send|post|reveal|show|output|include|leak|exfiltrate|dump|display|repeat|paste|expose|write|insert|append|add|put|copy|verrate?|gib|zeige?|sende|schicke?|schreibe?|nenne)\b{_GAP}{_SECRETS}",
    ),
    _lure("instruction anweisung prompt task aufgabe order", r"\b(?:new|updated|real|actual|hidden|secret|your|neue|eigentliche|geheime|deine) (?:system )?(?:instructions?|anweisung\w*|task|aufgabe|orders?)\s*:", r"\bend of (?:system |user )?(?:prompt|instructions)\b"),
)  # fmt: skip
"""what is said to a machine, in words"""

_ROLES = r"(?:system|assistant|developer|user|human|tool|function|instructions?|prompt|im_start|im_end|endoftext)"
MARKS: Mapping[str, Lure] = {
    "a role tag": _lure(
        "<| [inst [/inst <<sys < system assistant developer #",
        r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<<SYS>>",
        rf"</?(?:{_ROLES}|untrusted[-a-z0-9]*)(?:\s[^>\n]{{0,200}})?>",
        r"^[\s>*#\[(]*system\s*(?:\([^)\n]{0,40}\))?\s*[\])]?\s*:\s*(?:\S+[ \t]+){4}|^[\s>*#\[(]*(?:assistant|developer)\s*[\])]?\s*:\s*\S",
        r"\b(?:system|admin|developer) (?:override|instruction|command|directive)s?\b|^[\s>*#\[(]*system (?:message|notice|note|update|nachricht|hinweis)\s*[\])]?\s*:",
        r"^#{2,}\s*(?:system|instructions?|assistant)\b",
    ),
    "a tool call": _lure(
        'tool_ function_call <invoke "',
        r"\btool_(?:use|result|calls?)\b|\bfunction_(?:call|result)s?\b|<invoke\b",
        r"[\"'](?:choice|rules|approved?|role|recipe|confirmed|stop_reason|is_error|tool|arguments)[\"']\s*:\s*[\"'{\[tfn]",
    ),
    "a file mention": _lure("@", r"(?<![\w.])@(?:\.{0,2}[/\\]|~/|[\w.-]+[/\\])[\w./\\-]+|(?<![\w.])@[\w-]*\.?[\w-]+\.(?:py|json|jsonl|ya?ml|env|md|sh|toml|ini|cfg|pem|key|txt)\b|(?<![\w.])@\.env\b"),
    "a command line": _lure("/", r"^[ \t]*/[a-z][a-z_-]{2,30}(?:[ \t]+\S[^\n]*)?$"),
    "a picture link": _lure("![ <img", r"!\[[^\]\n]{0,300}\]\s?[(\[]|<img\b"),
    "a hidden comment": _lure("<!-- [//]:", r"<!--|^\s*\[//\]:\s*#"),
    "template braces": _lure("{ <%", r"\$\{[^}\n]{1,200}\}|\{\{[^}\n]{1,200}\}\}|\{%[^%\n]{1,200}%\}|<%[^%\n]{1,200}%>"),
}  # fmt: skip
"""what is said to a machine, in marks"""
BLOB = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{40,}={0,2}")
"""what may be text in base64; `is_blob` tells"""

_TLD = r"(?:com|net|org|dev|app|ru|cn|xyz|top|onion|example|test|invalid|de|uk|eu)"
_HOST = r"(?<![\w@.-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\."
FOREIGN: Mapping[str, Lure] = {
    "an address in the net": _lure(
        "://  www. . : //",
        r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>)\]]*|\bwww\.[^\s\"'<>)\]]+|(?<![\w:/])//[\w-]+\.[^\s\"'<>)\]]+",
        r"\b(?:javascript|vbscript|data|file|mailto):[^\s\"'<>)\]]+",
        rf"{_HOST}{_TLD}\b(?:[:/][^\s\"'<>)\]]*)?|{_HOST}[a-z]{{2,15}}/[^\s\"'<>)\]]*",
    ),
    "a mail address": _lure("@", r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    "a command": _lure(
        "` ~~~ $( curl wget rm | sudo ; powershell os. subprocess eval( exec( __import__ chmod",
        r"```|~~~|\$\([^)\n]{1,200}\)?",
        r"`[^`\n]{0,200}(?:[;|&$<>]|\b(?:curl|wget|bash|sh|rm|cat|nc|python3?|powershell|eval|sudo|chmod|env)\b)[^`\n]{0,200}`",
        r"\b(?:curl|wget)\s+\S+|\brm\s+-[a-z]*[rf]\S*|\|\s*(?:ba|z)?sh\b|\bsudo\s+\w+|;\s*(?:cat|ls|id|env|whoami|rm|curl)\b|\bchmod\s+\S+|\bpowershell\b",
        r"\bos\.(?:system|popen|environ)\b|\bsubprocess\.|\b(?:eval|exec)\(|__import__",
    ),
    "a path": _lure(
        "/ \\",
        r"(?<![\w.:/}<#)-])/(?:[\w.-]+/)+[\w.*-]*|(?<![\w/])/(?:etc|tmp|var|home|root|usr|proc|dev|opt|mnt|srv|bin|sys)\b[\w./-]*",
        r"(?<![\w.])\.\.[/\\][\w./\\-]*|(?<!\w)~/[\w./-]+|\b[a-z]:\\\w[\w\\.-]*|\\\\\w+\\\w+|(?<!\w)\.(?:git|github|env|ssh)\b[\w./-]*",
    ),
    "a markdown link": _lure("[", r"!?\[[^\]\n]{0,300}\]\s?\([^)\n]{0,500}\)?|^\s{0,3}\[[^\]\n]{1,200}\]:\s*\S+|!?\[[^\]\n]{1,200}\]\[[^\]\n]{0,200}\]"),
    "an HTML tag": _lure(
        "< &", r"</?[a-z!][^<>\n]{0,500}>|<!--|<(?:img|script|svg|iframe|a|link|style|form|input|object|embed|meta)\b|&(?:#x?[0-9a-f]{1,6}|lt|gt|quot|amp);"
    ),
    "template braces": _lure("{ <%", r"\$\{[^}\n]{1,200}\}|\{\{[^}\n]{1,200}\}\}|\{%[^%\n]{1,200}%\}|<%[^%\n]{1,200}%>|\{(?!\d{1,4}(?:,\d{0,4})?\})[^{}\n]{0,80}\}"),
    "an account number": _lure("0 1 2 3 4 5 6 7 8 9", r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])|(?<![\w-])[0-9](?:[ -]?[0-9]){12,18}(?!\w)"),
}  # fmt: skip
"""what a text of the target holds only if the target held it before"""


def is_blob(run: str) -> bool:
    """Whether a long run of letters and digits looks like base64 rather than a word, a slug, a number or a hash."""
    kinds = (any(char.isupper() for char in run), any(char.islower() for char in run), any(char.isdigit() for char in run))
    return all(kinds) and len(set(run)) >= 12 and not re.fullmatch(r"[0-9a-fA-F]+", run)
