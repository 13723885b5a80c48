"""Small files of every kind that can be read, made from rows without the programs that usually write them."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

Rows = Sequence[Mapping[str, str]]

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_OASIS = "urn:oasis:names:tc:opendocument:xmlns"


def lines_of(rows: Rows) -> list[list[str]]:
    """The header and the cells of rows, as a table writes them."""
    return [list(rows[0]), *([*row.values()] for row in rows)]


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip with these files, the same bytes each time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def tar_of(files: Mapping[str, bytes], mode: str = "w", links: Mapping[str, str] | None = None) -> bytes:
    """A tar with these files and links; mode "w:gz" and the like compress it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as file:  # type: ignore[call-overload]
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            file.addfile(link)
    return out.getvalue()


def xlsx_of(sheets: Mapping[str, Sequence[Sequence[object]]], hidden: Sequence[str] = (), last_cell: str = "") -> bytes:
    """A workbook; a cell is text, a number, a bool, or None for none. Each sheet may have one more cell far away."""
    kinds = [
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="r{n}"{_hidden(name, hidden)}/>' for n, name in _count(sheets)
    ]
    targets = [
        f'<Relationship Id="r{n}" Type="{_OFFICE}/worksheet" Target="worksheets/s{n}.xml"/>' for n, _ in _count(sheets)
    ]
    book = f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{"".join(kinds)}</sheets></workbook>'
    top = f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">{top}</Relationships>',
        "xl/workbook.xml": book,
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">{"".join(targets)}</Relationships>',
    }
    for n, name in _count(sheets):
        lines = "".join(f"<row>{''.join(map(_xlsx_cell, cells))}</row>" for cells in sheets[name])
        lines += f'<row><c r="{last_cell}"><v>1</v></c></row>' if last_cell else ""
        files[f"xl/worksheets/s{n}.xml"] = f'<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>'
    return zip_of({name: f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode() for name, text in files.items()})


def _hidden(name: str, hidden: Sequence[str]) -> str:
    return ' state="hidden"' if name in hidden else ""


def _count(sheets: Mapping[str, object]) -> list[tuple[int, str]]:
    return list(enumerate(sheets, start=1))


def _xlsx_cell(value: object) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f'<c t="b"><v>{int(value)}</v></c>' if isinstance(value, bool) else f"<c><v>{value}</v></c>"


def ods_of(sheets: Mapping[str, Sequence[Sequence[str]]]) -> bytes:
    """An OpenDocument workbook of texts."""
    spaces = " ".join(f'xmlns:{name}="{_OASIS}:{name}:1.0"' for name in ("office", "table", "text"))
    tables = []
    for name, lines in sheets.items():
        rows = [
            "<table:table-row>"
            + "".join(
                f'<table:table-cell office:value-type="string"><text:p>{escape(c)}</text:p></table:table-cell>'
                for c in cells
            )
            + "</table:table-row>"
            for cells in lines
        ]
        tables.append(f'<table:table table:name="{escape(name)}">{"".join(rows)}</table:table>')
    body = f"<office:body><office:spreadsheet>{''.join(tables)}</office:spreadsheet></office:body>"
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {spaces}>{body}</office:document-content>'
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    entry = f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
    manifest = f'<manifest:manifest xmlns:manifest="{_OASIS}:manifest:1.0">{entry}</manifest:manifest>'
    files = {"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest}
    return zip_of({name: text.encode() for name, text in files.items()})


def xls_of(lines: Sequence[Sequence[str]]) -> bytes:
    """An Excel 97 workbook of short texts in one sheet. Source: [MS-XLS], [MS-CFB]."""
    cells = b"".join(_xls_label(r, c, text) for r, row in enumerate(lines) for c, text in enumerate(row))
    name = "Sheet1".encode("utf-16-le")
    begin = _xls_record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 1996, 0, 0x0600))
    end = _xls_record(0x000A, b"")
    offset = len(begin) + 4 + 8 + len(name) + len(end)
    sheet_at = _xls_record(0x0085, struct.pack("<IBBBB", offset, 0, 0, 6, 1) + name)
    sheet = _xls_record(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 1996, 0, 0x0600)) + cells + end
    return _compound(begin + sheet_at + end + sheet)


def _xls_record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _xls_label(row: int, column: int, text: str) -> bytes:
    return _xls_record(0x0204, struct.pack("<HHHHB", row, column, 0, len(text), 1) + text.encode("utf-16-le"))


def _compound(stream: bytes) -> bytes:
    """The stream "Workbook" in a compound file: header, a sector of table, one of directory, then the stream."""
    num_sectors = max(8, -(-len(stream) // 512))
    assert num_sectors < 120
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
    header += struct.pack("<IIIIIIIII", 1, 1, 0, 0x1000, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0, 0) + b"\xff" * 432
    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, 2 + num_sectors), 0xFFFFFFFE]
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(512, b"\xff")
    entries = _entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + _entry("Workbook", 2, 0xFFFFFFFF, 2, num_sectors * 512)
    return header + table + entries.ljust(512, b"\0") + stream.ljust(num_sectors * 512, b"\0")


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    links = struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, child)
    return (
        text.ljust(64, b"\0")
        + struct.pack("<HBB", len(text), kind, 1)
        + links
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )


def pdf_of(pages: Sequence[str], title: str = "") -> bytes:
    """A pdf with a line of Latin text a page; an empty one is a page without text."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for n, text in enumerate(pages):
        shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        content = f"BT /F1 12 Tf 20 100 Td ({shown}) Tj ET" if text else ""
        has = f"/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * n} 0 R"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]{has}>>")
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    objects.append(f"<</Title({title})>>")
    out = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    tail = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R/Info {size - 1} 0 R>>\n"
    return out + f"{tail}startxref\n{len(out)}\n%%EOF\n".encode("latin-1")


def docx_of(paragraphs: Sequence[str], table: Sequence[Sequence[str]] = (), title: str = "") -> bytes:
    """A Word document, by the library that reads it too."""
    import docx

    document = docx.Document()
    document.core_properties.title = title
    for text in paragraphs:
        document.add_paragraph(text)
    if table:
        made = document.add_table(rows=len(table), cols=len(table[0]))
        for row, cells in zip(made.rows, table, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def eml_of(text: str, *, page: str = "", attachment: bytes = b"", **headers: str) -> bytes:
    """A mail; headers as message_id="<a@b>", subject="…"."""
    mail = EmailMessage()
    for name, value in headers.items():
        mail[name.strip("_").replace("_", "-")] = value
    if text:
        mail.set_content(text)
    if page:
        (mail.add_alternative if text else mail.set_content)(page, subtype="html")
    if attachment:
        mail.add_attachment(attachment, maintype="application", subtype="pdf", filename="a.pdf")
    return mail.as_bytes()


def mbox_of(mails: Sequence[bytes]) -> bytes:
    """A mailbox of these mails, with lines that begin "From " escaped."""
    out = b""
    for mail in mails:
        lines = [b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in mail.split(b"\n")]
        out += b"From someone@example.org Thu Jan  1 00:00:00 2026\n" + b"\n".join(lines) + b"\n\n"
    return out


def samples(rows: Rows) -> dict[str, bytes]:
    """A file of every kind that can be read, under the name that says which, holding these rows or their texts."""
    table = lines_of(rows)
    cells = io.StringIO()
    csv.writer(cells).writerows(table)
    plain = cells.getvalue().encode()
    texts = [" ".join(row.values()) for row in rows]
    arrow, parquet = io.BytesIO(), io.BytesIO()
    columns = pa.Table.from_pylist([dict(row) for row in rows])
    pq.write_table(columns, parquet)
    with pa.ipc.new_stream(arrow, columns.schema) as stream:
        stream.write_table(columns)
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    mails = [eml_of(text, subject=text[:20], message_id=f"<{n}@x>", to="你好 <a@b.cn>") for n, text in enumerate(texts)]
    page = f"<html><head><meta charset=utf-8><title>{texts[0]}</title></head><body>{'<p>'.join(texts)}</body></html>"
    return {
        "a.csv": plain,
        "b.csv": plain.decode().encode("gb18030"),
        "a.tsv": plain.replace(b",", b"\t"),
        "a.json": json.dumps([dict(row) for row in rows]).encode(),
        "a.jsonl": jsonl,
        "a.txt": "\n\n".join(texts).encode(),
        "a.md": b"# One\n" + "\n## Two\n".join(texts).encode(),
        "a.parquet": parquet.getvalue(),
        "a.arrow": arrow.getvalue(),
        "a.html": page.encode(),
        "a.eml": mails[0],
        "b.eml": eml_of(
            "", page=page, attachment=b"%PDF", subject="=?gb2312?B?xOO6ww==?=", date="Thu, 1 Jan 2026 09:05:00 +0800"
        ),
        "a.mbox": mbox_of(mails),
        "a.zip": zip_of({"in/a.jsonl": jsonl, "b.csv": plain, "c.zip": zip_of({"d.jsonl": jsonl})}),
        "a.tar": tar_of({"a.jsonl": jsonl, "b.csv": plain}, links={"l.csv": "/etc/passwd"}),
        "a.tgz": tar_of({"a.jsonl": jsonl}, "w:gz"),
        "a.tar.xz": tar_of({"a.jsonl": jsonl}, "w:xz"),
        "a.tar.bz2": tar_of({"a.jsonl": jsonl}, "w:bz2"),
        "a.xlsx": xlsx_of({"One": table, "二": [["a", "b"], [1, True]]}),
        "a.xls": xls_of(table),
        "a.ods": ods_of({"One": table}),
        "a.pdf": pdf_of(["One page of text", "", "And another"], "T"),
        "a.docx": docx_of(texts, table, "T"),
    }
