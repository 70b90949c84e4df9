"""What WhatsApp itself writes into a chat: media, deleted messages, polls, calls; in several languages.

The iPhone, and newer phones of other makers, set U+200E before what the program writes:

    ‎<attached: 00000012-PHOTO.jpg>     ‎IMG-1.jpg (file attached)     ‎image omitted     ‎Missed voice call
    <Media omitted>                      a caption stands in the lines below

Other phones do not, so words count as well.
"""

from __future__ import annotations

import re

MARK = "\u200e"
SYSTEM = "system"  # nobody says it

NOUNS = {
    "photo": "image|photo|изображение|фото|bild|foto|imagen|imagem|immagine|afbeelding|зображення|görüntü|zdjęcie",
    "video_file": "video|видео|vidéo|vídeo|відео|wideo",
    "video_message": "video (?:message|note)|видеосообщение|videonachricht",
    "audio_file": "audio|аудио|áudio|аудіо|ses|(?:view once )?voice message",
    "sticker": "sticker|стикер|стікер|figurinha|autocollant|çıkartma|naklejka",
    "animation": "gif|gif-анимация|gif-анімацію",
    "file": "document|документ|dokument|documento|belge",
    "contact": "contact card|карточка контакта|kontaktkarte|tarjeta de contacto|cartão de contato|fiche contact|"
    "carte de contact|scheda contatto|contactkaart|kişi kartı",
    "media": "media|medien|médias|multimedia|medya|медиа|медиафайлы|медіа|mídia|arquivo de mídia|archivo|ficheiro|"
    "arquivo|fichier|file",
}
LEFT_OUT = (
    r"omitted|weggelassen|ausgelassen|ausgeschlossen|omitid[oa]s?|ocult(?:ad)?[oa]|não revelad[oa]|omis(?:e?s)?|"
    r"absente?|retirée?|manquante?|omess[aeio]|esclus[aeio]|non inclus[aeio]|weggelaten|dahil edilmedi|pominięto|"
    r"отсутствует|пропущен[аоы]?|відсутн(?:є|ій|я)"
)
_OMITTED = "|".join(  # patterns are compiled when a chat of WhatsApp is read, which takes time that others need not pay
    rf"(?P<{kind}><?(?:(?:{nouns}) (?:{LEFT_OUT})|(?:{LEFT_OUT}) (?:{nouns}))\.?>?)" for kind, nouns in NOUNS.items()
)
_NO_MEDIA = r"<?(?:без медиафайлов|null)>?"
_ATTACHED = (
    r"(?:<[^<>:：\n]{1,40}[:：] ?([^<>\n]+\.\w{1,5})>|"
    r"((?:IMG|VID|PTT|AUD|STK|DOC)-\d{8}-WA\d+\.\w+) \([^()]+\)|"
    r"(.+\.\w{1,5}) (?:<attached>|<вложено>|\((?:file attached|attached|файл добавлен|файл прикреплён|файл прикреплен|"
    r"файл додано|файл додається|datei angehängt|archivo adjunto|fichier joint|file allegato|arquivo anexado|"
    r"ficheiro anexado|bestand bijgevoegd|dosya ekli|plik dołączony)\)))"
)
_DELETED = (
    r"(?:this message was deleted(?: by admin.*)?|you deleted this message(?: as admin)?|"
    r"(?:данное |это )?сообщение удалено|вы удалили (?:это|данное) сообщение|"
    r"(?:це )?повідомлення видалено|ви видалили це повідомлення|"
    r"diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|"
    r"se eliminó este mensaje|eliminaste este mensaje|este mensaje fue eliminado|"
    r"ce message a été supprimé|vous avez supprimé ce message|"
    r"questo messaggio è stato eliminato|hai eliminato questo messaggio|"
    r"(?:esta )?mensagem (?:foi )?apagada|você apagou esta mensagem|eliminou esta mensagem|"
    r"dit bericht is verwijderd|(?:u heeft|je hebt) dit bericht verwijderd|"
    r"bu mesaj silindi|bu mesajı sildiniz|ta wiadomość została usunięta|usunięto tę wiadomość)\.?"
)
_EDITED = (
    rf"\s*(?:{MARK}<[^<>:\n]+>|<(?:this message was edited|сообщение изменено|повідомлення змінено|"
    r"diese nachricht wurde bearbeitet|se editó este mensaje|ce message a été modifié|"
    r"questo messaggio è stato modificato|mensagem editada|dit bericht is bewerkt)\.?>)\s*\Z"
)
_POLL = r"(?:poll|опрос|опитування|umfrage|encuesta|sondage|sondaggio|enquete|sondagem|peiling|anket|ankieta) ?:"
_LOCATION = (
    r"[^\n:]{2,40}: https://(?:maps\.google\.com|maps\.app\.goo\.gl|www\.google\.com/maps|foursquare\.com)/\S+|"
    r"live location shared.*"
)
_CALL = (
    r"(?:(?:missed|silenced)(?: group)? (?:voice|video) call|пропущенный (?:аудио|видео|групповой )?звонок|"
    r"verpasster (?:sprach|video|gruppen)?anruf|(?:llamada|videollamada)(?: de voz| grupal)? perdida|"
    r"appel (?:vocal|vidéo) manqué|(?:chiamata vocale|videochiamata) persa|"
    r"chamada de (?:voz|vídeo) perdida|gemiste (?:spraak|video-?)oproep|"
    r"waiting for this message|ожидание сообщения|warte auf diese nachricht)(?:[.,…].*)?"
)
_FILE_NAME = r"[^\n]+\.\w{1,5}(?: • [^\n]*)?|[^\n]+ • [^\n]*"
KINDS_OF_FILES = {
    "jpg": "photo", "jpeg": "photo", "png": "photo", "heic": "photo", "webp": "sticker", "gif": "animation",
    "mp4": "video_file", "mov": "video_file", "3gp": "video_file", "opus": "voice_message", "ogg": "voice_message",
    "m4a": "audio_file", "mp3": "audio_file", "aac": "audio_file", "amr": "audio_file", "vcf": "contact",
}  # fmt: skip


def what_is_said(raw: str) -> tuple[str, str]:
    """(what it is beside a text, the text) of a message as it stands in the file, its marks included.

    The first is SYSTEM, a kind of media, `deleted`, or empty.
    """
    text = raw.replace(MARK, "").strip()
    first, _, below = text.partition("\n")
    if kind := media(first):
        below = _without_edited(below.strip())
        return ("file", "") if _is(_FILE_NAME, below) else (kind, below)
    above, mark, last = raw.rpartition(MARK)
    if mark and (kind := media(last.strip())):  # with a caption, or what the document is called
        caption = above.replace(MARK, "").strip()
        return ("file", "") if _is(_FILE_NAME, caption) else (kind, caption)
    if _is(_DELETED, text):
        return "deleted", ""
    if _is(_POLL, first) and below:
        return "poll", ""
    if _is(_LOCATION, text):
        return "location", ""
    if _is(_CALL, text) or raw.startswith(MARK):
        return SYSTEM, ""
    return "", _without_edited(raw).replace(MARK, "")


def media(line: str) -> str:
    """Which media stand in the place of `line`; empty if none do."""
    if line.endswith((")", ">")) and (attached := _is(_ATTACHED, line)):
        name = next(filter(None, attached.groups()))
        return KINDS_OF_FILES.get(name.rpartition(".")[2].lower(), "file")
    if len(line) > 60:
        return ""
    if _is(_NO_MEDIA, line):
        return "media"
    omitted = _is(_OMITTED, line)
    return str(omitted.lastgroup) if omitted else ""


def _is(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, text, re.IGNORECASE)


def _without_edited(text: str) -> str:
    return re.sub(_EDITED, "", text, flags=re.IGNORECASE) if ">" in text else text
