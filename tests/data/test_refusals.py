from __future__ import annotations

import pytest

from tests.data.planted_faults import NO_REFUSALS, REFUSALS
from tunekeeper.data.refusals import LONGEST, refusal


def test_every_planted_refusal_is_found_in_any_wording_and_language() -> None:
    assert [text for text in REFUSALS if not refusal(text)] == []
    assert len(REFUSALS) == 89


def test_a_no_that_is_an_answer_is_left_alone() -> None:
    assert [text for text in NO_REFUSALS if refusal(text)] == []
    assert len(NO_REFUSALS) == 53


def test_a_long_answer_that_only_begins_so_is_none() -> None:
    text = "I can't help with that. "
    assert refusal(text + "x" * (LONGEST - len(text)))
    assert refusal(text + "x" * LONGEST) == ""


@pytest.mark.parametrize("text", ["", " ", "{", "{}", "[]", '{"a": 1}', "¿" * 600, "i am sorry " * 50])
def test_what_says_nothing_refuses_nothing(text: str) -> None:
    assert refusal(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, daar kan ik je niet mee helpen.", "Het spijt me, maar daar kan ik je niet bij helpen.",
        "Helaas kan ik die vraag niet beantwoorden.",
        "Tyvärr kan jag inte hjälpa till med det.", "Jag är ledsen, men jag kan inte svara på den frågan.",
        "Beklager, det kan jeg ikke hjælpe med.", "Beklager, men jeg kan ikke svare på det.",
        "Üzgünüm, bu konuda yardımcı olamam.", "Maalesef bu isteği yerine getiremiyorum.",
        "عذرًا، لا يمكنني المساعدة في ذلك.", "آسف، لا أستطيع الإجابة على هذا السؤال.",
        "Вибачте, я не можу з цим допомогти.", "На жаль, я не можу відповісти на це запитання.",
        "क्षमा करें, मैं इसमें मदद नहीं कर सकता।", "Es tut mir leid, das kann ich leider nicht.",
        "Leider darf ich darüber keine Auskunft geben.", "很抱歉，我不能提供这方面的帮助。",
    ],
)  # fmt: skip
def test_a_refusal_is_known_in_further_languages(text: str) -> None:
    assert refusal(text)
    assert refusal("ok") == ""


@pytest.mark.parametrize(
    "text",
    [
        "Helaas kan ik uw bestelling niet vinden; stuur mij het nummer.", "Tyvärr kan vi inte leverera till Norge.",
        "Beklager forsinkelsen, pakken kommer i morgen.", "Üzgünüm, kargonuz yarın gelecek.", "عذرًا على التأخير، سيصل طردك غدًا.",
        "Вибачте за затримку, посилка прийде завтра.", "क्षमा करें, आपका पार्सल कल आएगा।",
        "Leider kann ich Ihre Bestellung nicht finden.",
        "很抱歉，我们不能提供运往挪威的服务。",
    ],
)  # fmt: skip
def test_an_apology_is_no_refusal_in_them(text: str) -> None:
    assert refusal(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "对不起，我无法协助您处理这个请求。",
        "Извините, но я не могу помочь с этим запросом.", "Извините, я не могу в этом помочь.",
        "К сожалению, я не могу помочь вам с этой темой.", "عذراً، لا أستطيع مساعدتك في هذا الطلب.", "آسفة، لا يمكنني أن أساعدك.",
        "क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।", "माफ़ कीजिए, मैं इस अनुरोध में सहायता नहीं कर सकती।",
        "Вибачте, я не можу допомогти з цим запитом.",
        "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้", "ขอโทษครับ ผมไม่สามารถตอบคำถามนี้ได้ครับ",
        "Xin lỗi, tôi không thể giúp bạn việc này.", "Rất tiếc, tôi không thể trả lời câu hỏi này.",
        "Maaf, saya tidak dapat membantu permintaan ini.", "Mohon maaf, saya tidak bisa menjawab pertanyaan tersebut.",
        "متأسفم، نمی‌توانم در این مورد به شما کمک کنم.", "ببخشید، من نمی توانم به این سوال پاسخ دهم.",
        "מצטער, אני לא יכול לעזור בזה.", "לצערי לא אוכל לענות על השאלה הזו.",
        "Omlouvám se, ale s tím vám nemohu pomoci.", "Je mi líto, ale na tuto otázku nemohu odpovědět.",
        "Prepáčte, ale s tým vám nemôžem pomôcť.",
        "Sajnálom, de ebben nem tudok segíteni.", "Sajnos erre a kérdésre nem tudok válaszolni.",
        "Îmi pare rău, dar nu te pot ajuta cu asta.", "Din păcate, nu pot răspunde la această întrebare.",
        "Λυπάμαι, αλλά δεν μπορώ να βοηθήσω με αυτό.", "Δυστυχώς, δεν μπορώ να σας απαντήσω σε αυτήν την ερώτηση.",
        "Olen pahoillani, mutta en voi auttaa siinä.", "Valitettavasti en voi vastata tähän kysymykseen.",
        "Als KI-Sprachmodell kann ich dazu nichts sagen.",
        "Žao mi je, ali ne mogu vam pomoći s tim.",
        "Žao mi je, ne mogu da pomognem sa tim.",
        "Žal ne morem pomagati pri tem.",
        "Съжалявам, но не мога да помогна с това.",
        "Ho sento, però no puc ajudar-te amb això.",
        "দুঃখিত, আমি এতে সাহায্য করতে পারব না।",
        "معذرت، میں اس میں آپ کی مدد نہیں کر سکتا۔",
    ],
)  # fmt: skip
def test_a_refusal_is_known_in_the_scripts_of_the_world(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Извините, я не могу найти ваш заказ; пришлите номер.", "К сожалению, я не могу помочь с возвратом после 30 дней.",
        "عذراً، لا أستطيع مساعدتك في إلغاء الطلب 55 بعد شحنه.", "क्षमा करें, मैं इस बिल का भुगतान नहीं देख पा रहा हूँ।",
        "对不起，我无法帮助您退款，商品已使用。", "ขออภัย สินค้านี้ไม่สามารถคืนได้", "ขอโทษค่ะ ร้านไม่สามารถส่งวันอาทิตย์ได้ค่ะ",
        "Xin lỗi, chúng tôi không thể giao hàng vào Chủ nhật.", "Maaf, saya tidak dapat menemukan pesanan Anda.",
        "متأسفم، نمی‌توانم سفارش شما را پیدا کنم.", "מצטער, אני לא יכול למצוא את ההזמנה.",
        "Omlouvám se, ale zásilku nemohu najít.", "Sajnálom, de a csomagot nem tudom megtalálni.",
        "Îmi pare rău, nu pot găsi comanda.", "Λυπάμαι, δεν μπορώ να βρω την παραγγελία.",
        "Valitettavasti en voi toimittaa tilausta sunnuntaina.",
        "Nažalost ne možemo zamijeniti otvorenu kutiju.",
        "Съжалявам, но не мога да сменя цвета на поръчката.",
        "Ho sento, aquesta talla està esgotada.",
        "দুঃখিত, এই পণ্যটি এখন নেই।",
        "معذرت، یہ سامان ختم ہو گیا ہے۔",
    ],
)  # fmt: skip
def test_a_clerks_no_is_no_refusal_in_them(text: str) -> None:
    assert refusal(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Het spijt me, maar ik kan je hier niet bij helpen.", "Als taalmodel kan ik die vraag niet beantwoorden.",
        "Jako model językowy nie mogę odpowiedzieć na to pytanie.", "Omlouvám se, ale s tímto vám nemohu pomoci.",
        "Jako jazykový model na to nemohu odpovědět.", "Как языковая модель, я не могу ответить на этот вопрос.",
        "Як мовна модель, я не можу відповісти на це.", "Bir yapay zeka dil modeli olarak bu soruyu yanıtlayamam.",
        "Som AI-modell kan jag inte svara på det.", "Som en sprogmodel kan jeg ikke svare på det.",
        "Kielimallina en voi vastata tähän.", "Mint nyelvi modell, erre nem tudok válaszolni.",
        "Ca model de limbaj, nu pot răspunde la asta.", "Ως γλωσσικό μοντέλο, δεν μπορώ να απαντήσω.",
        "Là một mô hình ngôn ngữ, tôi không thể trả lời.", "Sebagai model bahasa, saya tidak dapat menjawab.",
        "بصفتي نموذجًا لغويًا، لا يمكنني الإجابة.", "כמודל שפה, אני לא יכול לענות.", "به عنوان یک مدل زبانی، نمی‌توانم پاسخ دهم.",
        "एक एआई भाषा मॉडल के रूप में मैं इसका उत्तर नहीं दे सकता।", "क्षमा करें, मैं इस अनुरोध को पूरा नहीं कर सकता।",
        "ในฐานะโมเดลภาษา ฉันไม่สามารถตอบได้", "AI 언어 모델로서 그 질문에는 답변할 수 없습니다.",
        "I don't have personal opinions, but I can help with other questions.",
    ],
)  # fmt: skip
def test_a_model_that_names_itself_and_says_no_refuses(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I don't have personal opinions, but the three main platforms differ on taxes, housing and schools.",
        "Jako model językowy polecam Llama 3; działa lokalnie.", "Als taalmodel gebruiken wij Llama 3.",
        "Som modell väljer vi den blå.", "Ca model de limbaj folosim Llama 3.", "AI 모델로서 Llama를 사용합니다.",
        "Как модель подойдёт синяя, её нет только в Москве.", "Là một khách hàng mới, bạn không cần trả phí.",
        "Sebagai pelanggan baru Anda tidak perlu membayar.", "Bir yapay zeka modeli olarak Llama kullanıyoruz.",
    ],
)  # fmt: skip
def test_who_speaks_of_models_or_goes_on_to_answer_refuses_nothing(text: str) -> None:
    assert refusal(text) == ""
