"""What the judge ``refusal-phrases`` is made of: how text is read, clauses by language, measured quality."""
