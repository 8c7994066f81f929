"""tests.engines"""
