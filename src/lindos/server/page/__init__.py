"""What the page asks for under `/api`: conversations, answers as streams of HTML, what model this is."""
