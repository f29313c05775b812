"""Refusals: answers that only say that nothing will be said, in the wordings and languages that assistants use for it.

An assistant refuses itself ("I can't help with that"); a clerk's no ("we cannot refund after 30 days") is an answer. So a
refusal is what refuses to help, to answer or this request as such, never what refuses a named thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunekeeper.data.examples import parsed
from tunekeeper.text.fingerprints import normalise

LONGEST = 600
"""Characters above which an answer that begins like a refusal is taken to say something after it."""

_THING = (
    r"(?:request|question|task|topic|matter|content|query|information"
    r"|subject|conversation|discussion|prompt|kind of \w+|type of \w+|type of request)"
)
_ALL_OF_IT = rf"(?: (?:that|this|it|your|such|these|those|any of (?:that|this))(?: (?:specific |particular )?{_THING}s?)?)"
_END = r"(?=\s*(?:[.,!;:?]|\Z|because|as\b|since\b|but\b|at (?:this|the) (?:time|moment)|further|any further|right now|here))"
_CANNOT = (
    r"(?:(?:cannot|can't|can not)(?:,? and (?:will not|won't))?|could not|couldn't|refuse to|(?:am|are|'m|'re)"
    r" (?:currently |really )?(?:unable|not able) to"
    r"|won't be able to|will not be able to|will not|won't|(?:am|'m) not (?:allowed|permitted|designed|programmed"
    r"|authori[sz]ed) to)"
)
_ENGLISH_SORRY = (
    r"(?:(?:(?:i|we)(?:'m|'re| am| are) )?(?:very |so |really |truly )?(?:sorry|afraid)[,.!:;]? ?(?:but |that )?"
    r"|unfortunately,? |regrettably,? |(?:i|we) apologi[sz]e[,.]? ?(?:but )?|(?:my |our )?(?:sincere )?apologies[,.]?"
    r" ?(?:but )?"
    r"|i regret (?:to (?:inform|tell) you )?(?:that |but )?|however,? |but "
    r"|thank(?:s| you)[^.!]{0,60}[.!,] ?(?:but )?){0,2}"
)
_ENGLISH = (
    rf"(?:i|we)(?= |')(?: )?{_CANNOT} (?:help|assist|comply|engage|support|answer|continue"
    r"|(?:provide|offer|give)(?: you)?(?: any)? (?:assistance|help|support|guidance|information|advice|details))(?:"
    r" you)?(?: out)?(?: (?:with|in|on|to|about|regarding))?"
    rf"{_ALL_OF_IT}?{_END}",
    rf"(?:i|we)(?= |')(?: )?{_CANNOT} (?:provide|answer|discuss|share|create|generate|do|fulfil+|complete|write|produce"
    rf"|give|offer|perform"
    rf"|respond to|participate in|comply with|engage (?:with|in)|process){_ALL_OF_IT}{_END}",
    r"as an? (?:(?:large |ai |artificial intelligence |text[- ]based )*(?:language model|assistant|chatbot|system|model)"
    r"|ai|artificial intelligence)(?: (?:developed|created|trained|made) by \w+)?,? (?:i|my)\b"
    r"[^.!?]{0,20}(?:can't|cannot|can not|don't|do not|not\b|unable|no\b|won't|will not|must|lack|inability)",
    r"i(?:'m| am) (?:(?:just|only|merely) )?an? (?:ai(?: (?:language )?model| assistant)?(?=,|;| and| so| that)"
    r"|(?:large )?language model|chatbot|computer program|virtual assistant)[^.!?]{0,60}(?:can't|cannot|unable|don't|do"
    r" not|not)\b",
    r"i (?:must|have to|will have to|need to) (?:respectfully |politely )?decline\b",
    r"i(?: would|'d) (?:rather|prefer) not to? ?(?:answer|discuss|say|comment)",
    r"i(?: do not|n't| don't|'m not| am not) (?:feel )?comfortable (?:answering|discussing|with (?:that|this)|doing"
    r"|providing|helping)",
    r"(?:that|this)(?:'s not| is not| isn't) (?:something|a \w+)(?: that)? i(?: can|'m able to| am able to) (?:help"
    r"|assist|answer|discuss|do)",
    r"(?:that|this)(?:'s| is) (?:something|a \w+)(?: that)? i(?: can't| cannot|'m not able to|'m unable to| am not able"
    r" to| am unable to)",
    r"(?:it|(?:your|this|that)(?: (?:request|question|prompt|message))?) ?(?:is|'s|would be|goes|violates|conflicts with)"
    r" ?(?:against )?"
    r"(?:my (?:\w+ )?|(?:our|\w+'s) (?:content |usage |safety |ethical |community ){1,2})(?:guidelines|polic(?:y|ies)"
    r"|programming|principles)",
    r"it(?:'s| is| would be) (?:not appropriate|inappropriate) for me to\b",
    r"i (?:don't|do not) have (?:personal (?:opinions|feelings|experiences|beliefs)(?!,? but (?!i\b))|the ability to (?:help"
    r"|assist|answer|do that))",
)
_GERMAN = (
    r"(?:(?:es )?tut (?:mir|uns) (?:sehr |wirklich )?leid[,.!:;]? ?(?:aber |doch |dass )?|leider |bedauerlicherweise "
    r"|entschuldigung[,.]? ?(?:aber )?"
    r"|(?:ich )?bedau(?:e)?re[,.]? ?(?:aber )?){0,2}(?:"
    r"(?:(?:das|dabei|damit|hierbei|dazu|hierzu) )?(?:ich )?(?:kann|darf|möchte|werde) (?:ich )?"
    r"(?:(?:dir|ihnen|euch|leider|das|dies|dabei|damit|hierbei|dazu|bei|mit|auf|diese[rnms]?|deine[rmn]?|ihre[rmn]?"
    r"|anfrage|frage"
    r"|bitte|aufgabe|wunsch|thema) ){0,6}nicht (?:weiter ?)?(?:helfen|behilflich sein|beantworten|bearbeiten|erfüllen"
    r"|nachkommen"
    r"|unterstützen|entsprechen|eingehen)\b"
    r"|ich bin (?:leider )?nicht in der lage[^.!?]{0,40}(?:helfen|beantworten|unterstützen|bearbeiten)\b"
    r"|das (?:kann|darf) ich leider nicht(?=\s*(?:[.,!]|\Z))"
    r"|(?:darf|kann) ich (?:dazu|darüber|hierzu) (?:leider )?keine auskunft (?:geben|erteilen)\b"
    r"|als (?:ein(?:e)? )?(?:ki\b|künstliche intelligenz|sprachmodell|großes sprachmodell|ki-\w+)[^.!?]{0,100}\b(?:nicht"
    r"|nichts|kein\w*)\b)"
)
_FRENCH = (
    r"(?:(?:je suis |nous sommes )?(?:vraiment |sincèrement )?(?:d[ée]sol[ée]e?s?|navrée?s?)[,.!:;]? ?(?:mais )?|je"
    r" regrette[,.]? ?(?:mais )?|malheureusement,? "
    r"|(?:toutes )?mes excuses[,.]? ?(?:mais )?|je m'excuse[,.]? ?(?:mais )?){0,2}(?:"
    r"je ne (?:peux|puis) (?:malheureusement )?pas (?:vous |te |t')?(?:aider|assister|répondre|accéder|satisfaire|fournir"
    r"|traiter)"
    r"(?: (?:avec|à|sur|dans|de|en) ?| )?(?:cela|ça|cette (?:demande|question|requête)|ce sujet|(?:votre|ta) (?:demande"
    r"|question))?"
    r"(?=\s*(?:[.,!;:]|\Z|car\b))"
    r"|je ne suis pas (?:en mesure|capable|autorisée?) (?:de |d')(?:vous |t')?(?:aider|répondre|fournir cette|traiter"
    r"|satisfaire)"
    r"|en tant qu(?:e |')(?:grand )?(?:modèle|ia\b|intelligence artificielle|assistant)[^.!?]{0,80}\b(?:ne "
    r"|n')[^.!?]{0,40}\bpas\b)"
)
_SPANISH = (
    r"(?:lo siento(?: mucho)?[,.!:;]? ?(?:pero )?|lamentablemente,? |desafortunadamente,? |me temo que |lo lamento[,.]?"
    r" ?(?:pero )?"
    r"|(?:disculpa|perdón|perdona|perdone|disculpe)[,.]? ?(?:pero )?){0,2}(?:"
    r"no (?:puedo|me es posible|estoy autorizad[oa] (?:a|para)|soy capaz de) (?:ayudar(?:te|le|los|les)?|asistir(?:te"
    r"|le)?|cumplir"
    r"|responder(?:te|le)?|contestar|atender|proporcionar)(?: (?:con|a|en) )? ?(?:eso|esto|ello|es[ae] (?:solicitud"
    r"|pregunta|petición|tema|información)"
    r"|est[ae] (?:solicitud|pregunta|petición|tema)|(?:tu|su) (?:solicitud|pregunta|petición))?(?=\s*(?:[.,!;:]|\Z|porque\b))"
    r"|como (?:un |una )?(?:modelo de lenguaje|ia\b|inteligencia artificial|asistente (?:virtual|de ia))[^.!?]{0,80}\bno\b)"
)
_ITALIAN = (
    r"(?:(?:mi dispiace|purtroppo|scusa|mi scuso|spiacente)[,.!:;]? ?(?:ma )?){0,2}(?:"
    r"non (?:posso|sono in grado di) (?:aiutar(?:ti|la|vi|e)|assister\w+|rispondere|soddisfare|fornire)(?: (?:con|a|in|su) )? ?"
    r"(?:questo|ciò|quest[ao] (?:richiesta|domanda)|quell[ao] (?:richiesta|domanda)|(?:la )?tua (?:richiesta|domanda))?"
    r"(?=\s*(?:[.,!;:]|\Z))"
    r"|(?:come|in quanto) (?:modello linguistico|ia\b|intelligenza artificiale|assistente virtuale)[^.!?]{0,80}\bnon\b)"
)
_PORTUGUESE = (
    r"(?:(?:desculpe?a?|lamento|sinto muito|infelizmente)[,.!:;]? ?(?:mas )?){0,2}(?:"
    r"(?:eu )?não (?:posso|consigo|sou capaz de) (?:te |lhe |o |a )?(?:ajud(?:ar|á-lo|á-la)|responder|atender|cumprir|fornecer)"
    r"(?: (?:com|a|em) )? ?(?:isso|isto|ess[ea] (?:pedido|pergunta|solicitação)|est[ea] (?:pedido|pergunta|solicitação))?"
    r"(?=\s*(?:[.,!;:]|\Z))"
    r"|como (?:um |uma )?(?:modelo de linguagem|ia\b|inteligência artificial|assistente (?:virtual|de ia))[^.!?]{0,80}\bnão\b)"
)
_OTHERS = (
    # Dutch, Polish, Russian
    r"(?:(?:het spijt me|sorry|helaas)[,.!:;]? ?(?:maar )?){0,2}(?:ik kan|kan ik) (?:(?:je|u|jou|daar|hier|dat|deze|vraag"
    r"|mee|die|dit) ){0,5}"
    r"niet (?:mee |bij |verder )?(?:helpen|beantwoorden)\b",
    r"(?:sorry|helaas|het spijt (?:me|ons))[,.!:;]? ?(?:maar )?(?:daar|hier|dat) (?:kan ik|kunnen wi?j?e?) "
    r"(?:(?:je|u|jou|mee) ){0,2}niet (?:mee |bij |verder )?helpen\b",
    # Swedish, Danish and Norwegian, Ukrainian, Turkish, Arabic, Hindi
    r"(?:(?:tyvärr|ursäkta|förlåt|jag är ledsen)[,.!:;]? ?(?:men )?){0,2}(?:det )?(?:kan jag|jag kan) (?:tyvärr )?inte "
    r"(?:hjälpa (?:dig )?(?:till )?med det|svara på (?:det|den frågan))(?=\s*(?:[.,!]|\Z))",
    r"(?:(?:beklager|desværre|dessverre|undskyld)[,.!:;]? ?(?:men )?){1,2}(?:det )?(?:kan jeg|jeg kan) (?:desværre |dessverre )?"
    r"ikke (?:hj[æe]lpe (?:dig |deg )?(?:med(?: det)?)?|svare på (?:det|dette|det spørgsmål|det spørsmålet))(?=\s*(?:[.,!]|\Z))",
    r"(?:(?:вибачте|перепрошую|на жаль)[,.!:;]? ?(?:але )?){1,2}я не можу (?:вам |з цим |у цьому )?"
    r"(?:допомогти|відповісти|виконати)"
    r"(?: (?:з цим(?: запитом)?|з цією темою|у цьому|на це (?:питання|запитання)|цей запит))?(?=\s*(?:[.,!]|\Z))",
    r"(?:(?:üzgünüm|maalesef|kusura bakmayın)[,.!:;]? ?(?:ama )?){1,2}bu (?:konuda|soruya|isteği|talebi) (?:size )?"
    r"(?:yardımcı olam\w+|yanıt verem\w+|yerine getirem\w+)",
    r"(?:عذر[ًا]{1,2}|آسف[ةه]?|أعتذر|للأسف)[،,.]? ?(?:و?لكن(?:ني)? )?لا (?:يمكنني|أستطيع) (?:المساعدة|الإجابة|تقديم المساعدة"
    r"|(?:أن أساعدك|مساعدتك|الرد|تلبية)(?=\s*(?:[.،!]|\Z)| (?:(?:في|على|ب) ?)?(?:هذا|هذه|ذلك|طلبك|سؤالك)))",
    r"(?:क्षमा (?:करें|कीजिए)|मा(?:फ़|फ़|फ) (?:करें|कीजिए(?:गा)?)|(?:मुझे )?खेद है)[,.।]? ?(?:लेकिन |कि )?मैं "
    r"(?:(?:इसमें|इस|पर|में|आपकी|अनुरोध|प्रश्न|विषय|मामले|का|की|कोई) ){0,6}(?:मदद|सहायता|उत्तर|जवाब) "
    r"(?:नहीं (?:कर|दे) सक|(?:करने|देने) में असमर्थ)",
    r"(?:(?:przykro mi|niestety|przepraszam)[,.!:;]? ?(?:ale )?){0,2}nie mogę (?:ci |panu |pani )?(?:w tym |z tym )?"
    r"(?:pomóc|odpowiedzieć|spełnić)(?: (?:w tym|na to pytanie|tej prośby))?(?=\s*(?:[.,!]|\Z))",
    r"(?:(?:извините|простите|к сожалению|мне жаль|прошу прощения)[,.!:;]? ?(?:но )?){0,2}я не могу (?:вам |тебе )?"
    r"(?:в этом |с этим )?(?:помочь|ответить|выполнить|обработать)(?: вам)?"
    r"(?: (?:с этим(?: запросом| вопросом)?|в этом(?: вопросе)?|с этой (?:темой|задачей|просьбой)"
    r"|на (?:этот|ваш) (?:вопрос|запрос)|(?:этот|ваш) запрос|это))?(?=\s*(?:[.,!]|\Z))",
    # Japanese, Chinese, Korean
    r"[^。！？\n]{0,40}(?:質問|依頼|要求|リクエスト|ご要望|お手伝い|お力に|AIとして)[^。！？\n]{0,30}(?:できません"
    r"|かねます|れません|できない)",
    r"(?:(?:非常|很|十分)?(?:抱歉|对不起|對不起|遗憾)[，,。！!\s]{0,2}(?:但是?)?)?我?(?:无法|不能|没办法|無法)(?:回答"
    r"|提供|帮助|协助|满足|完成|幫助|協助|处理|讨论|解答)"
    r"(?:您|你)?(?:处理|處理|完成|解决|回答)?(?:的)?(?:(?:这|那|该|此|這)(?:个|個|类|样|項|项)?|相关)?(?:的)?(?:问题|请求|要求|內容|内容|問題|請求"
    r"|信息|帮助|协助|幫助|協助)?(?=[。，！,.]|\Z)",
    r"(?:非常|很|十分)?(?:抱歉|对不起|對不起)[，,]?我(?:无法|不能)提供(?:这|那)?(?:方面|类|个)?(?:的)?(?:帮助|协助|信息)(?=[。，！,.]|\Z)",
    r"作[为為](?:一[个個])?(?:AI|人工智能|语言模型|語言模型|大型语言模型)[^。！？\n]{0,30}(?:无法|不能|没有|無法)",
    r"(?:죄송|미안|유감|안타깝)[^.!?\n]{0,25}(?:요청|질문|도와|도움|답변|대답)[^.!?\n]{0,20}(?:수 없|수가 없|못|어렵)",
)
_STOP = r"(?=\s*(?:[.,!،;]|\Z))"
_FURTHER = (
    # Thai, Vietnamese, Indonesian and Malay, Persian, Hebrew
    r"(?:ขออภัย|ขอโทษ|เสียใจ)(?:ค่ะ|ครับ|ด้วย)?[, ]*(?:แต่)?(?:ฉัน|ผม|ดิฉัน|เรา)?ไม่สามารถ"
    r"(?:ให้ความช่วยเหลือ|ช่วย(?:เหลือ)?|ตอบ|ให้ข้อมูล|ดำเนินการ)"
    r"(?:คุณ)?(?:(?:ใน|กับ|เกี่ยวกับ|ตาม)?(?:เรื่อง|คำขอ|คำถาม|สิ่ง)นี้)?ได้(?=\s*(?:[.!]|\Z|ค่ะ|ครับ))",
    r"(?:(?:rất |tôi )?xin lỗi|(?:tôi )?rất tiếc)[,.]? ?(?:nhưng )?(?:tôi|mình|chúng tôi) (?:không thể|không được phép) "
    r"(?:giúp(?: đỡ)?|hỗ trợ|trả lời|đáp ứng|thực hiện)(?: bạn)?(?: (?:với|về|trong))?"
    rf"(?: (?:việc|yêu cầu|câu hỏi|điều|vấn đề|nội dung)(?: này| đó| của bạn)?)?{_STOP}",
    r"(?:mohon )?maaf[,.]? ?(?:tetapi |tapi |namun )?(?:saya|aku) tidak (?:dapat|bisa|boleh|mampu) "
    r"(?:membantu|menjawab|memenuhi|memproses|memberikan (?:bantuan|informasi))(?: (?:anda|kamu))?"
    rf"(?: (?:dengan|dalam|untuk))?(?: (?:permintaan|pertanyaan|hal|topik)(?: (?:ini|itu|tersebut|anda))?| ini| itu)?{_STOP}",
    r"(?:مت[أا]سفم|ببخشید|با عرض پوزش)[،,.]? ?(?:اما |ولی )?(?:من )?نمی[\u200c ]?توانم "
    r"(?:در این (?:مورد|زمینه|باره) )?(?:به شما )?"
    rf"(?:به این (?:سؤال|سوال|درخواست) )?(?:کمک کنم|کمکی بکنم|پاسخ دهم){_STOP}",
    r"(?:(?:אני )?מצטער(?:ת)?|סליחה|לצערי)[,.]? ?(?:אבל |אך )?(?:אני )?לא (?:יכול(?:ה)?|אוכל) "
    r"(?:לעזור|לסייע|לענות)(?: (?:לך|לכם))?"
    rf"(?: (?:בזה|בכך|עם זה|על זה|על כך|בנושא (?:זה|הזה)|בבקשה (?:זו|הזו)|על השאלה (?:הזו|הזאת)))?{_STOP}",
    # Czech and Slovak, Hungarian, Romanian, Greek, Finnish
    r"(?:(?:je mi líto|omlouvám se|bohužel|promiňte|je mi ľúto|ospravedlňujem sa|prepáčte|žiaľ)[,.]? ?(?:ale )?){1,2}"
    r"(?:(?:s tím|s tímto|s tým|s týmto|na to|na t[uú]to otázku|vám|ti) ){0,2}"
    r"ne(?:mohu|můžu|môžem|dokážu) (?:(?:s tím|s tým|na to|vám|ti) ){0,2}"
    r"(?:pomoci|pomoct|pomôcť|odpovědět|odpovedať|vyhovět)"
    r"(?: (?:s tím|s tým|s tímto (?:požadavkem|dotazem)|s touto (?:žádostí|požiadavkou|otázkou)|s touto otázkou"
    rf"|na tuto otázku|na túto otázku|na tento dotaz))?{_STOP}",
    r"(?:sajnálom|sajnos|elnézést)[,.]? ?(?:de )?(?:(?:ebben|ezzel|erre)(?: a (?:kérésben|kéréssel|kérdésre))? )?nem "
    rf"(?:tudok|áll módomban) (?:önnek |neked )?(?:segíteni|válaszolni|segítséget nyújtani)(?: (?:ebben|ezzel|erre))?{_STOP}",
    r"(?:îmi pare rău|din păcate|scuze)[,.]? ?(?:dar )?nu (?:te |vă )?pot (?:să )?(?:te |vă )?(?:ajuta|ajut|răspunde|răspund)"
    rf"(?: (?:cu|la|în) (?:asta|aceasta|acest lucru|această (?:cerere|solicitare|întrebare)))?{_STOP}",
    r"(?:λυπάμαι|λυπούμαι|συγγνώμη|δυστυχώς)[,.]? ?(?:αλλά )?δεν μπορώ να (?:σας |σε )?(?:βοηθήσω|απαντήσω|εξυπηρετήσω)"
    rf"(?: (?:με|σε) (?:αυτό|αυτή(?:ν)? την? (?:ερώτηση|αίτηση)|αυτό το (?:αίτημα|θέμα)))?{_STOP}",
    r"(?:(?:olen pahoillani|anteeksi|valitettavasti|pahoittelen)[,.]? ?(?:mutta )?){1,2}en voi "
    r"(?:auttaa|vastata|avustaa)(?: (?:sinua|teitä))?"
    rf"(?: (?:siinä|tässä(?: asiassa)?|sen kanssa|tämän kanssa|tähän (?:kysymykseen|pyyntöön)|siihen))?{_STOP}",
    # Croatian, Serbian and Bosnian, Slovene, Bulgarian, Catalan, Bengali, Urdu
    r"(?:žao mi je|nažalost|na žalost|oprostite|izvinite|žal mi je|žal)[,.]? ?(?:ali |vendar )?ne (?:mogu|morem) "
    r"(?:vam |ti )?(?:pri tem |s tim )?(?:da )?(?:pomoći|pomognem|pomagati|odgovoriti|odgovorim)(?: vam| ti)?"
    rf"(?: (?:sa? (?:tim|ovim)|u (?:tome|vezi s tim)|oko toga|na to(?: pitanje)?|pri tem))?{_STOP}",
    r"(?:съжалявам|за съжаление|извинете)[,.]? ?(?:но )?(?:аз )?не мога да (?:ви |ти )?(?:помогна|отговоря|изпълня)"
    rf"(?: (?:с това|по този въпрос|на този въпрос|тази заявка|с тази заявка))?{_STOP}",
    r"(?:ho sento|ho lamento|malauradament|em sap greu)[,.]? ?(?:però )?no (?:et |us |li )?puc (?:ajudar(?:-te|-vos|-lo|-la)?"
    rf"|respondre)(?: (?:amb|a|en) (?:això|aquesta (?:sol·licitud|pregunta|petició)))?{_STOP}",
    r"(?:দুঃখিত|আমি দুঃখিত|ক্ষমা করবেন)[,।.]? ?(?:কিন্তু )?আমি (?:(?:এতে|এই|বিষয়ে|আপনাকে|ব্যাপারে|অনুরোধে) ){0,4}"
    r"(?:সাহায্য করতে|উত্তর দিতে) (?:পারব|পারছি|পারি) না",
    r"(?:معذرت|معاف کیجیے|مجھے افسوس ہے)[،,۔]? ?(?:لیکن )?(?:کہ )?میں (?:(?:اس|میں|آپ|کی|پر|معاملے|سوال|کا) ){0,6}"
    r"(?:مدد|جواب) نہیں (?:کر|دے) سک",
)
_MODEL = (
    # What calls itself a model, an AI, in further languages, and then says no
    r"als (?:een )?(?:ai\b|taalmodel|kunstmatige intelligentie|ai-\w+)[^.!?]{0,80}\b(?:niet|geen)\b",
    r"jako (?:model językowy|sztuczna inteligencja|ai\b|asystent ai)[^.!?]{0,80}\bnie\b",
    r"jako (?:(?:velký )?jazykový model|umělá inteligence|umelá inteligencia|ai\b)[^.!?]{0,80}\bne\w+",
    r"как (?:(?:большая )?языковая модель|искусственный интеллект|ии\b|модель ии)[^.!?]{0,80}\b(?:не|нет)\b",
    r"як (?:(?:велика )?мовна модель|штучний інтелект|ші\b)[^.!?]{0,80}\b(?:не|немає)\b",
    r"(?:bir )?(?:yapay zek[aâ](?: dil modeli| modeli| asistanı)?|dil modeli) olarak[^.!?]{0,80}\w(?:am[aı]|eme|emi)\w{1,6}\b",
    r"som (?:en |ett )?(?:ai\b|språkmodell|sprogmodel|ai-\w+)[^.!?]{0,80}\b(?:inte|ikke|ingen|inga)\b",
    r"(?:kielimallina|tekoälynä)[^.!?]{0,80}\b(?:en|ei)\b",
    r"(?:mint )?(?:nyelvi modell|mesterséges intelligencia)(?:ként)?[^.!?]{0,80}\b(?:nem|nincs\w*)\b",
    r"ca (?:un )?(?:model de limbaj|inteligență artificială|ia\b|ai\b)[^.!?]{0,80}\bnu\b",
    r"ως (?:ένα )?(?:γλωσσικό μοντέλο|τεχνητή νοημοσύνη)[^.!?]{0,80}\bδεν\b",
    r"là (?:một )?(?:mô hình ngôn ngữ|trí tuệ nhân tạo|ai\b)[^.!?]{0,80}\bkhông\b",
    r"sebagai (?:sebuah )?(?:model bahasa|kecerdasan buatan|ai\b)[^.!?]{0,80}\btidak\b",
    r"(?:بصفتي|باعتباري|ك)\s?نموذج(?:ًا|ا)? (?:لغو|ذكاء)[^.!?]{0,80}\b(?:لا|ليس)\b",
    r"כמודל שפה[^.!?]{0,80}\b(?:לא|אין)\b",
    r"به عنوان (?:یک )?(?:مدل زبانی|هوش مصنوعی)[^.!?]{0,80}نمی",
    r"एक (?:एआई|AI|कृत्रिम बुद्धिमत्ता|भाषा)[^.!?।]{0,30} के रूप में[^.!?।]{0,80}(?:नहीं|असमर्थ)",
    r"ในฐานะ(?:ที่เป็น)?(?:โมเดลภาษา|แบบจำลองภาษา|ปัญญาประดิษฐ์|AI)[^.!?\n]{0,80}ไม่",
    r"(?:저는 )?(?:AI|인공지능)[^.!?\n]{0,20}(?:로서|이므로|이기 때문에)[^.!?\n]{0,60}(?:수 없|수가 없|못|않)",
    r"(?:क्षमा (?:करें|कीजिए)|मा(?:फ़|फ़|फ) (?:करें|कीजिए(?:गा)?)|(?:मुझे )?खेद है)[,.।]? ?(?:लेकिन |कि )?मैं (?:इस|आपके) "
    r"(?:अनुरोध|प्रश्न|सवाल) (?:को|का) (?:पूरा|उत्तर|जवाब) नहीं (?:कर|दे) सक",
)
_EUROPEAN = (_GERMAN, _FRENCH, _SPANISH, _ITALIAN, _PORTUGUESE)
_EVERY = (*(_ENGLISH_SORRY + each for each in _ENGLISH), *_EUROPEAN, *_OTHERS, *_FURTHER, *_MODEL)
_REFUSAL = re.compile(rf"\W{{0,4}}(?:{'|'.join(_EVERY)})", re.IGNORECASE)
_SECOND = re.compile(r"[.!?。！？]\s*")


def refusal(answer: str, phrases: Sequence[str] = ()) -> str:
    """The words of a refusal, or the one of `phrases`, that an answer of at most 600 characters begins with; empty when none.

    Looks at the first two sentences, and inside the texts of a JSON answer.
    """
    if len(answer) > LONGEST:
        return ""
    value = parsed(answer)
    texts = [text for text in value.values() if isinstance(text, str)] if isinstance(value, dict) else [answer]
    for text in texts:
        plain = " ".join(text.replace("’", "'").split())
        second = _SECOND.search(plain)
        match = _REFUSAL.match(plain) or (_REFUSAL.match(plain, second.end()) if second is not None else None)
        if match is not None and match[0].strip():
            return f"it begins with {match[0].strip()!r}"
    beginning = normalise(answer)
    return next((f"it begins with {each!r}" for each in phrases if (n := normalise(each)) and beginning.startswith(n)), "")
