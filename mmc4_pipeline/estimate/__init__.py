"""What a run will take: bytes, requests, core hours and money, before anything is asked for."""
