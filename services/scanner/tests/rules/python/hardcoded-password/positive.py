"""Sends the invoices of the day by mail."""

import os
import smtplib
from email.message import EmailMessage

HOST = "mail.example.org"
SENDER = "billing@example.org"
SMTP_PASSWORD = "{{SECRET}}"


def letter(to: str, number: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = SENDER, to
    message["Subject"] = f"Invoice {number}"
    return message


def send(letters: list[EmailMessage]) -> None:
    with smtplib.SMTP_SSL(HOST, 465) as server:
        server.login(SENDER, SMTP_PASSWORD)
        for one in letters:
            server.send_message(one)
    os.sync()
